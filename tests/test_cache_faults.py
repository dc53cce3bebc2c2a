"""Extraction under kills, full disks and company: nothing lost, nothing different."""

import os
import random
import shutil
import signal
import time
from types import SimpleNamespace

import pytest
from caches import (
    SERVER,
    Watched,
    entries,
    entry_of,
    fill,
    fill_slowly,
    flip_bit,
    make_store,
    read_batches,
    remount,
    small_disk,
    write_clips,
)

from sercorr.errors import InputError
from sercorr.features.maintenance import prune_cache, verify_cache


@pytest.fixture(scope="module")
def corpus(tiny_models, tmp_path_factory):
    """Clips, a model, and the bytes of an extraction that nothing disturbed."""
    folder = tmp_path_factory.mktemp("corpus")
    wavs = write_clips(folder / "wavs", 40)
    model = str(tiny_models["hubert", "group"])
    wanted = entries(fill(folder / "cache", wavs, model).store)
    assert len(wanted) == 40
    return wavs, model, wanted


def start(cache, wavs, model, target=fill):
    process = SERVER.Process(target=target, args=(cache, wavs, model))
    process.start()
    return process


def count_whole_entries(store, wanted):
    """Whatever has an entry's name has an entry's bytes; count them."""
    there = {n: b for n, b in entries(store).items() if not n.startswith(".")}
    assert all(content == wanted[name] for name, content in there.items())
    return len(there)


def entries_there(store):
    return list((store.folder / "entries").glob("*/[!.]*.safetensors"))


def test_killed_again_and_again_then_three_at_once(corpus, tmp_path):
    """SIGKILL at random moments; the bytes are those of an undisturbed run."""
    wavs, model, wanted = corpus
    store = make_store(tmp_path, model)
    chance = random.Random(7)
    counts = [0]
    for _ in range(4):
        process = start(tmp_path, wavs, model, fill_slowly)
        enough = counts[-1] + chance.randint(0, 6)
        while process.is_alive() and len(entries_there(store)) < enough:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        counts.append(count_whole_entries(store, wanted))
    assert counts == sorted(counts)  # nothing finished is lost
    assert 0 < counts[-1] < 40
    before = {path: path.stat().st_mtime_ns for path in entries_there(store)}
    processes = [start(tmp_path, wavs, model) for _ in range(3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert count_whole_entries(store, wanted) == 40
    # what was there was not written again
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for path in (store.folder / "entries").rglob(".*"):
        os.utime(path, (0, 0))
    prune_cache(tmp_path)
    assert entries(store) == wanted
    assert verify_cache(tmp_path) == 0


def test_clips_that_others_finished_are_left_out(corpus, tmp_path):
    """Another process fills the store while this one loads its model."""
    wavs, model, wanted = corpus
    upstream = Watched(model)
    load = upstream.load
    upstream.load = lambda device: fill(tmp_path, wavs, model) and load(device)
    stored = fill(tmp_path, wavs, upstream)
    assert upstream.groups == []
    assert entries(stored.store) == wanted


def test_interrupted_from_the_keyboard(corpus, tmp_path):
    wavs, model, wanted = corpus

    def interrupt(call):
        if call == 4:
            raise KeyboardInterrupt

    upstream = Watched(model, interrupt)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, wavs, upstream)
    store = make_store(tmp_path, model)
    finished = sum(upstream.groups[:3])
    assert count_whole_entries(store, wanted) == len(entries(store)) == finished
    fill(tmp_path, wavs, model)
    assert entries(store) == wanted


def test_a_full_disk_in_the_middle(corpus, tmp_path, monkeypatch):
    wavs, model, wanted = corpus
    total = sum(map(len, wanted.values()))
    with small_disk(tmp_path / "disk", f"{total // 2 // 1024}k") as disk:
        # somebody else fills the disk after it was asked for its room
        room = SimpleNamespace(free=10**12)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
        with pytest.raises(InputError, match=r"disk is full.*are kept.*same command"):
            fill(disk, wavs, model)
        monkeypatch.undo()
        store = make_store(disk, model)
        finished = count_whole_entries(store, wanted)
        assert 0 < finished < 40
        assert len(entries(store)) == finished  # no temporary file is left
        remount(disk, f"size={2 * total // 1024}k")
        fill(disk, wavs, model)
        assert entries(store) == wanted


def test_a_disk_for_reading_only(corpus, tmp_path, caplog):
    wavs, model, _ = corpus
    with small_disk(tmp_path / "disk", "50m") as disk:
        fill(disk, wavs, model)
        remount(disk, "ro")
        features = fill(disk, wavs, model, verify=True)
        assert verify_cache(disk) == 0
        good = read_batches(features, wavs)["clip00"]
        path = entry_of(features, "clip00")
        remount(disk, "rw")
        flip_bit(path, 8 * 600)
        remount(disk, "ro")
        with pytest.raises(InputError, match="nothing can be written there"):
            fill(disk, wavs, model, verify=True)
        caplog.clear()
        # while it is read, it is computed again, and kept in memory
        features = fill(disk, wavs, model)
        for _ in range(2):
            clip = read_batches(features, {"clip00": wavs["clip00"]})["clip00"]
            assert clip.equal(good)
        (record,) = caplog.records
        assert f"{path}: corrupt" in record.getMessage()
        assert "nothing can be written there; computed in" in record.getMessage()
