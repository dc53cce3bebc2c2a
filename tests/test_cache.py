"""The feature cache: what is written is read, and nothing else is believed."""

import errno
import json
import math
import os
import shutil
import time

import pytest
import torch
from caches import entries, fill, flip_bit, make_store, write_clips
from models import build_model
from safetensors import safe_open
from safetensors.torch import load_file

from sercorr.cli import main
from sercorr.errors import InputError
from sercorr.features import store as store_module
from sercorr.features.entry import HEADER_BYTES, EntryHeader
from sercorr.features.signature import DTYPES, Signature
from sercorr.features.store import (
    CorruptEntryError,
    MissingEntryError,
    audio_digest,
)
from sercorr.lobes.upstream import upstream_info

KEY = "ab" * 32


@pytest.fixture
def store(tmp_path):
    """Return a store with one entry of random features."""
    store = make_store(tmp_path / "cache")
    store.open_for_writing()
    layers = torch.randn(1, 9, 80, generator=torch.Generator().manual_seed(0))
    store.write(KEY, layers, samples=1280)
    return store


@pytest.fixture
def filled(tmp_path):
    """Return the features of five clips."""
    return fill(tmp_path / "cache", write_clips(tmp_path / "wavs", 5))


def run(capsys, *words) -> tuple[int, str, str]:
    """Run the program; give its status, its output and its errors."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read(tmp_path, dtype):
    store = make_store(tmp_path, dtype=dtype)
    layers = 100 * torch.randn(1, 7, 80, generator=torch.Generator().manual_seed(1))
    store.write(KEY, layers, samples=960)
    got = store.read(KEY)
    assert got.dtype == DTYPES[dtype]
    assert torch.equal(got, layers.to(DTYPES[dtype]))
    assert torch.equal(store.read(KEY, verify=False), got)
    assert store.path(KEY).stat().st_size == store.entry_bytes(7)
    assert store.entry_bytes(7) == HEADER_BYTES + 7 * 80 * got.element_size()
    # any program reads it as safetensors
    assert torch.equal(load_file(store.path(KEY))["layers"], got)
    with safe_open(store.path(KEY), "pt") as file:
        metadata = file.metadata()
    assert metadata.pop("checksum")
    assert metadata == {
        "signature": store.signature.digest,
        "audio": KEY,
        "samples": "960",
        "frames": "7",
    }
    assert store.header(KEY).samples == 960
    assert store.header(KEY).shape == (1, 7, 80)


@pytest.mark.skipif(
    not os.path.exists("/proc/self/maps"), reason="needs Linux's list of mapped files"
)
def test_reading_maps_the_file(store):
    """Memory is that of the file: its pages appear in the list of mapped files."""
    layers = store.read(KEY, verify=False)
    with open("/proc/self/maps") as maps:
        assert KEY in maps.read()
    store.write(KEY, torch.zeros(1, 9, 80), samples=1280)  # a new file, not that one
    assert layers.abs().max() > 0.1


def test_a_missing_entry(store):
    other = "0" * 64
    assert store.has(KEY)
    assert not store.has(other)
    with pytest.raises(MissingEntryError, match=f"{other}.*extract the features"):
        store.read(other)


def test_wrong_shapes_are_refused(store):
    for shape in ((2, 9, 80), (1, 9, 81)):
        with pytest.raises(ValueError, match=r"layers must be \(1, 9, 80\) in float16"):
            store.write(KEY, torch.zeros(shape), samples=1280)
    assert list(entries(store)) == [f"{KEY}.safetensors"]


def test_every_flipped_bit_of_the_header_is_found(store):
    path = store.path(KEY)
    good = path.read_bytes()
    undecided = []
    for bit in range(8 * HEADER_BYTES):
        raw = bytearray(good[:HEADER_BYTES])
        raw[bit // 8] ^= 1 << bit % 8
        try:
            EntryHeader.decode(bytes(raw))
        except ValueError:
            continue
        undecided.append(bit)
    # digits of the signature, the audio's digest, the samples, and the checksum
    assert 50 < len(undecided) < 600
    for bit in undecided:
        flip_bit(path, bit)
        with pytest.raises(CorruptEntryError):
            store.check(KEY)
        path.write_bytes(good)
    assert store.check(KEY)


def test_flipped_bits_of_the_numbers_are_found(store):
    path = store.path(KEY)
    good = path.read_bytes()
    generator = torch.Generator().manual_seed(5)
    low, high = 8 * HEADER_BYTES, 8 * len(good)
    for bit in torch.randint(low, high, (100,), generator=generator).tolist():
        path.write_bytes(good)
        flip_bit(path, bit)
        assert store.has(KEY)  # it looks whole
        with pytest.raises(CorruptEntryError, match=f"{KEY}.*checksum.*extract"):
            store.read(KEY)
        with pytest.raises(CorruptEntryError, match=f"{KEY}.*checksum.*extract"):
            store.check(KEY)


@pytest.mark.parametrize("size", [0, 7, 300, 511, 512, 513, 1951])
def test_truncated_entries_are_found(store, size):
    os.truncate(store.path(KEY), size)
    assert not store.has(KEY)
    with pytest.raises(CorruptEntryError, match=f"truncated: it has {size} bytes"):
        store.read(KEY)


def test_a_longer_entry_is_found(store):
    with open(store.path(KEY), "ab") as file:
        file.write(b"\0")
    with pytest.raises(CorruptEntryError, match=r"too long: it has 1953 bytes.* 1952"):
        store.read(KEY)


def test_foreign_entries_are_found(store, tmp_path):
    """Whole entries of another model, another precision or another clip."""
    path = store.path(KEY)
    other = make_store(tmp_path / "other", dtype="bfloat16")
    other.write(KEY, torch.zeros(1, 9, 80), samples=1280)
    clip = "cd" * 32
    store.path(clip).parent.mkdir()
    shutil.copy(path, store.path(clip))
    with pytest.raises(CorruptEntryError, match=f"foreign: its audio is {KEY}"):
        store.read(clip)
    shutil.copy(other.path(KEY), path)
    with pytest.raises(CorruptEntryError, match="foreign: its signature is"):
        store.read(KEY)
    path.write_bytes(b"RIFF" + bytes(2000))
    with pytest.raises(CorruptEntryError, match="damaged or of another program"):
        store.read(KEY)


def test_the_folder_follows_from_all_that_decides_the_values(tmp_path):
    wav2vec = [build_model(tmp_path / "a", "wav2vec2", "group", seed=0)]
    wav2vec += [build_model(tmp_path / "b", "wav2vec2", "group", seed=1)]
    wav2vec += [
        build_model(tmp_path / "c", "wav2vec2", "group", seed=0, do_normalize=False)
    ]
    infos = [upstream_info(str(path)) for path in wav2vec]
    names = [Signature.of(info).name for info in infos]
    names += [Signature.of(infos[0], dtype).name for dtype in ("bfloat16", "float32")]
    assert len(set(names)) == 5
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    moved = upstream_info(str(tmp_path / "elsewhere"))
    assert Signature.of(moved).name == names[0]  # the path decides nothing
    with pytest.raises(InputError, match="cache_dtype is 'int8'; it must be one of"):
        Signature.of(moved, "int8")


def test_about_says_what_is_signed(store):
    about = json.loads((store.folder / "about.json").read_text())
    assert about["dtype"] == "float16"
    assert about["upstream"]["digest"] == upstream_info("fbank").digest
    assert "source" not in about["upstream"]
    assert Signature.read(store.folder) == store.signature
    about["upstream"]["digest"] = "0" * 64
    (store.folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"about.json: foreign: it describes fbank-"):
        Signature.read(store.folder)
    store.open_for_writing()
    assert Signature.read(store.folder) == store.signature


def test_a_full_disk_leaves_nothing_behind(store, monkeypatch):
    before = entries(store)

    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "write_entry", no_room)
    with pytest.raises(InputError, match=r"disk is full.*are kept.*same command"):
        store.write("0" * 64, torch.zeros(1, 9, 80), samples=1280)
    assert entries(store) == before


def test_info(filled, capsys, tmp_path):
    status, out, _ = run(capsys, "cache", "info", tmp_path / "cache")
    assert status == 0
    row = next(line for line in out.splitlines() if line.startswith("fbank-"))
    store = filled.store
    samples = [store.header(key).samples for key in filled.digests.values()]
    hours = sum(samples) / 16000 / 3600
    assert row.split("  ")[0] == store.folder.name
    assert f"float16  5        {hours:.2f}" in row
    for folder in (tmp_path / "wavs", tmp_path / "nowhere"):
        status, _, err = run(capsys, "cache", "info", folder)
        assert status == 2
        assert "give the cache_folder of a run" in err


def test_verify_names_and_removes_what_is_bad(filled, capsys, tmp_path):
    cache, store = tmp_path / "cache", filled.store
    assert run(capsys, "cache", "verify", cache)[:2] == (
        0,
        "5 files checked, 0 bad\n",
    )
    digests = list(filled.digests.values())
    flipped, cut = store.path(digests[0]), store.path(digests[1])
    flip_bit(flipped, 8 * 2000 + 3)
    os.truncate(cut, 1000)
    notes = store.folder / "entries" / "notes.txt"
    notes.write_text("mine")
    status, out, _ = run(capsys, "cache", "verify", cache)
    assert status == 1
    assert "6 files checked, 3 bad" in out
    assert f"{flipped}: corrupt: the checksum of its bytes" in out
    assert f"{cut}: truncated: it has 1000 bytes" in out
    assert f"{notes}: foreign" in out
    status, out, _ = run(capsys, "cache", "verify", cache, "--remove")
    assert status == 1
    assert out.count("; removed") == 3
    assert run(capsys, "cache", "verify", cache)[:2] == (
        0,
        "3 files checked, 0 bad\n",
    )


def test_verify_finds_an_exchanged_folder(filled, capsys, tmp_path):
    """Features of one model that were put in the place of another's."""
    other = fill(tmp_path / "other", write_clips(tmp_path / "wavs", 5), dtype="float32")
    shutil.rmtree(filled.store.folder)
    shutil.copytree(other.store.folder, filled.store.folder)
    status, out, _ = run(capsys, "cache", "verify", tmp_path / "cache")
    assert status == 1
    assert out.count("foreign: of the signature") == 5
    assert "about.json: foreign: it describes fbank-" in out


def test_prune_takes_leftovers_and_damaged_files_only(filled, capsys, tmp_path):
    cache, store = tmp_path / "cache", filled.store
    good = entries(store)
    digests = list(filled.digests.values())
    cut = store.path(digests[1])
    os.truncate(cut, 1000)
    leftover = cut.with_name(".leftover.tmp")
    leftover.write_bytes(bytes(500))
    a_minute_ago = time.time() - 60
    os.utime(leftover, (a_minute_ago, a_minute_ago))
    fresh = cut.with_name(".fresh.tmp")
    fresh.write_bytes(bytes(500))
    status, out, _ = run(capsys, "cache", "prune", cache, "--dry-run")
    assert status == 0
    assert "would remove 2 files and folders, 1.5 kB" in out
    assert cut.exists()
    assert leftover.exists()
    assert "removed 2 files and folders" in run(capsys, "cache", "prune", cache)[1]
    assert entries(store).keys() == (good.keys() | {fresh.name}) - {cut.name}


def test_prune_leaves_what_is_being_written(filled, capsys, tmp_path, monkeypatch):
    """Another process prunes at the moment before the new name is given."""
    store, cache = filled.store, tmp_path / "cache"
    replace = os.replace

    def prune_before(old, new):
        an_hour_ago = time.time() - 3600
        os.utime(old, (an_hour_ago, an_hour_ago))
        out = run(capsys, "cache", "prune", cache)[1]
        assert out == "removed 0 files and folders, 0 bytes\n"
        replace(old, new)

    monkeypatch.setattr(store_module.os, "replace", prune_before)
    store.write(KEY, torch.ones(1, 9, 80), samples=1280)
    assert store.check(KEY).samples == 1280


def test_prune_removes_whole_folders_on_request(filled, capsys, tmp_path):
    cache, wavs = tmp_path / "cache", write_clips(tmp_path / "wavs", 5)
    first = filled.store.folder
    second = fill(cache, wavs, dtype="float32").store.folder
    third = fill(cache, wavs, dtype="bfloat16").store.folder
    status, _, err = run(capsys, "cache", "prune", cache, "--signature", "nothing")
    assert status == 2
    assert f"no features 'nothing'; there are {min(first, second, third).name}" in err
    run(capsys, "cache", "prune", cache, "--signature", second.name)
    assert (first.exists(), second.exists(), third.exists()) == (True, False, True)
    two_days_ago = time.time() - 2 * 86400
    for path in [first, *first.rglob("*")]:
        os.utime(path, (two_days_ago, two_days_ago))
    run(capsys, "cache", "prune", cache, "--older-than", "3")
    assert first.exists()
    run(capsys, "cache", "prune", cache, "--older-than", "1")
    assert (first.exists(), third.exists()) == (False, True)


def test_audio_digest(tmp_path):
    """SHA-256 of "abc", from the standard's own example."""
    path = tmp_path / "clip.wav"
    path.write_bytes(b"abc")
    assert audio_digest(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        audio_digest(tmp_path / "nowhere")


def test_results_are_rewritten(tmp_path, capsys):
    from made_up_results import LABELS

    from sercorr.evaluation.results import write_fold

    probabilities = torch.eye(len(LABELS), dtype=torch.float64).numpy()
    ids = [f"clip{index}" for index in range(len(LABELS))]
    write_fold(tmp_path / "fold_2", 2, ids, LABELS, probabilities, LABELS)
    record = {"settings": {"pooling": "corr", "upstream_source": "fbank"}}
    (tmp_path / "fold_2" / "run.json").write_text(json.dumps(record))
    status, out, _ = run(capsys, "results", tmp_path)
    assert status == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert math.isclose(results["mean"]["wa"], 100.0)
    assert "corr" in (tmp_path / "results.md").read_text()
    assert "results.json" in out
    status, _, err = run(capsys, "results", tmp_path / "nowhere")
    assert status == 2
    assert "no finished fold" in err
