"""Extraction: the upstream's own numbers, made once, whoever makes them."""

import os
import re
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
from caches import (
    Watched,
    entries,
    entry_of,
    fill,
    flip_bit,
    make_store,
    read_batches,
    write_clips,
)

from sercorr.data import digests
from sercorr.data.audio import read_audio
from sercorr.data.digests import hash_clips
from sercorr.errors import InputError
from sercorr.features import extract
from sercorr.lobes.upstream import FrozenUpstream, load_upstream
from sercorr.lobes.upstream.fbank import FbankUpstream


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["wav2vec2", "group"]


@pytest.fixture
def wavs(tmp_path):
    return write_clips(tmp_path / "wavs", 12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_an_entry_is_what_the_upstream_gives(tmp_path, wavs, model, dtype):
    upstream = load_upstream(str(model))
    one_by_one = extract(
        upstream, wavs, cache_folder=tmp_path / "a", cache_dtype=dtype, progress=False
    )
    together = fill(tmp_path / "b", wavs, model, dtype)
    epsilon = torch.finfo(together.store.dtype).eps
    for key, path in wavs.items():
        wanted = upstream(read_audio(path)[None])[0][0]
        assert torch.equal(one_by_one.read(key), wanted.to(together.store.dtype))
        got = together.read(key).float()
        assert got.shape == wanted.shape
        assert ((got - wanted).abs() / wanted.abs().max()).max() < epsilon + 5e-6


def test_features_are_made_once(tmp_path, wavs, model):
    """Ids, order and places of the clips do not matter, nor what is stored already."""
    upstream = Watched(model)
    features = fill(tmp_path / "a", wavs, upstream)
    assert sum(upstream.groups) == 12
    assert max(upstream.groups) > 1
    wanted = entries(features.store)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = fill(tmp_path / "a", wavs, upstream, verify=True)
    assert all(again.read(key).isfinite().all() for key in wavs)
    assert upstream.loads == 1
    # reading writes nothing, not even a folder's time
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    for key in ("clip01", "clip05", "clip11"):
        entry_of(features, key).unlink()
        fill(tmp_path / "a", wavs, model)
        assert entries(features.store) == wanted
    renamed = {"twin": shutil.copy(wavs["clip00"], tmp_path / "twin.wav")}
    for key, path in sorted(wavs.items(), reverse=True):
        renamed[f"z{key}"] = shutil.copy(path, tmp_path / f"x{path.name}")
    features = fill(tmp_path / "b", renamed, model)
    assert entries(features.store) == wanted  # equal audio is one entry
    assert torch.equal(features.read("twin"), features.read("zclip00"))


def test_ranks_share_the_clips(tmp_path, wavs, model, monkeypatch, capsys, caplog):
    alone = fill(tmp_path, wavs, model, extract_precision="bf16").store
    wanted = entries(alone)
    for path in alone.folder.rglob("*.safetensors"):
        os.truncate(path, 100)
    capsys.readouterr()
    seen = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        options = {"extract_precision": "bf16", "progress": True}
        fill(tmp_path, wavs, Watched(model), **options)
        seen.append(sum(b == wanted[n] for n, b in entries(alone).items()))
    assert 0 < seen[0] < seen[1] < seen[2] == 12
    captured = capsys.readouterr()
    assert captured.out.count("12 clips (") == 1  # the first alone speaks
    assert captured.out.count("bf16: error") == 1
    assert captured.err.count("hashing audio: 100%") == 1
    assert re.search(r"extracting \d+ clips 100%.* audio-seconds/s", captured.err)
    assert caplog.text.count("made again") == 12


def test_shares_without_torchrun_are_the_same(tmp_path, wavs, model):
    wanted = entries(fill(tmp_path / "alone", wavs, model).store)
    for share in (1, 0, 2):
        store = fill(tmp_path / "shared", wavs, model, share=(share, 3)).store
        assert (len(entries(store)) == 12) == (share == 2)
    assert entries(store) == wanted


def test_who_goes_on_computes_with_as_many_threads(tmp_path, wavs, model):
    seen = []

    def note(_call: int) -> None:
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    store = fill(tmp_path, wavs, Watched(model, note), threads=3).store
    assert set(seen) == {3}
    assert store.threads == 3
    for path in store.folder.rglob("*.safetensors"):
        os.truncate(path, 100)
    seen.clear()
    again = fill(tmp_path, wavs, Watched(model, note), threads=2)
    assert set(seen) == {3}  # what the store was begun with
    entry_of(again, "clip04").unlink()
    seen.clear()
    mended = fill(tmp_path, wavs, Watched(model, note))
    entry_of(mended, "clip05").unlink()
    read_batches(mended, wavs)  # found missing while it is read
    assert set(seen) == {3}
    assert torch.get_num_threads() == before


def test_other_processes_need_not_hash_the_audio(tmp_path, wavs, monkeypatch):
    time.sleep(0.2)  # a file that changed just now may change again unseen
    old = fill(tmp_path / "cache", wavs)
    hashed, digest = [], digests.file_digest
    monkeypatch.setattr(
        digests, "file_digest", lambda path: hashed.append(path) or digest(path)
    )
    record = tmp_path / "cache" / digests.RECORD
    digests._remembered.cache_clear()  # as in another process
    assert hash_clips(wavs, False, record) == old.digests
    assert hashed == []
    changed = wavs["clip03"]
    before = changed.stat()
    flip_bit(changed, 8 * 3000 + 6)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = hash_clips(wavs, False, record)
    assert hashed == [str(changed)]
    assert found == hash_clips(wavs, False)
    assert [key for key in wavs if found[key] != old.digests[key]] == ["clip03"]


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "{"])
def test_a_damaged_record_of_digests_costs_time_alone(tmp_path, wavs, text):
    record = tmp_path / digests.RECORD
    record.write_text(text)
    assert hash_clips(wavs, False, record) == hash_clips(wavs, False)


def test_a_replaced_clip_is_never_served_stale(tmp_path, wavs, monkeypatch):
    """Same name, size and time, another content; others are not hashed again."""
    hashed, digest = [], digests.file_digest
    monkeypatch.setattr(
        digests, "file_digest", lambda path: hashed.append(path) or digest(path)
    )
    time.sleep(0.2)  # a file that changed just now may change again unseen
    old = fill(tmp_path / "cache", wavs)
    path = wavs["clip03"]
    before = path.stat()
    flip_bit(path, 8 * 3000 + 6)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    time.sleep(0.2)
    new = fill(tmp_path / "cache", wavs)
    assert sorted(map(str, hashed)) == sorted(map(str, [*wavs.values(), path]))
    assert [key for key in wavs if old.digests[key] != new.digests[key]] == ["clip03"]
    wanted = load_upstream("fbank")(read_audio(path)[None])[0][0].half()
    assert torch.equal(new.read("clip03"), wanted)
    assert not torch.equal(new.read("clip03"), old.read("clip03"))


def test_a_clip_that_changes_meanwhile_is_an_error(tmp_path, wavs):
    upstream = Watched("fbank")
    digest = hash_clips(wavs, False)["clip07"]
    upstream.load = lambda _: flip_bit(wavs["clip07"], 8 * 3000) or upstream.upstream
    with pytest.raises(InputError, match=r"clip07.wav: the file changed while"):
        fill(tmp_path / "cache", wavs, upstream)
    assert not make_store(tmp_path / "cache").has(digest)


def test_damaged_entries_are_named_and_made_again(tmp_path, wavs, model, caplog):
    features = fill(tmp_path, wavs, model)
    wanted = entries(features.store)
    paths = [entry_of(features, key) for key in sorted(wavs)]
    os.truncate(paths[0], 700)
    shutil.copy(paths[11], paths[1])  # another clip's
    flip_bit(paths[2], 3)
    fill(tmp_path, wavs, model)  # by headers and sizes
    for path, bit in zip(paths[3:6], (8000, 15000, 24000), strict=True):
        flip_bit(path, bit)
    fill(tmp_path, wavs, model)  # which look whole
    assert len(caplog.records) == 3
    fill(tmp_path, wavs, model, verify=True)
    assert entries(features.store) == wanted
    messages = {record.getMessage() for record in caplog.records}
    reasons = ("truncated", "foreign: its audio is", "damaged", *["corrupt"] * 3)
    assert len(messages) == 6
    for path, reason in zip(paths, reasons, strict=False):
        (text,) = (text for text in messages if str(path) in text)
        assert reason in text
        assert text.endswith("; made again")


def test_not_enough_room_is_refused(tmp_path, wavs, model, monkeypatch, capsys):
    upstream = Watched(model)
    frames = [upstream.frames(len(read_audio(path))) for path in wavs.values()]
    needed = 4096 * sum(-(-(512 + 4 * count * 32 * 2) // 4096) for count in frames)
    rooms = iter(SimpleNamespace(free=free) for free in (needed - 1, needed))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: next(rooms))
    with pytest.raises(InputError, match=f"{needed} bytes.*make room, choose"):
        fill(tmp_path, wavs, upstream)
    store = make_store(tmp_path, model)
    assert (entries(store), upstream.loads) == ({}, 0)
    fill(tmp_path, wavs, upstream)
    assert len(entries(store)) == 12
    assert sum(map(len, entries(store).values())) <= needed
    said = f"12 clips (0.00 h) to extract: {needed / 1000:.1f} kB needed,"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("factor", "dtype", "message"),
    [
        (1e5, "float16", r"\.wav: a feature of size .*bfloat16 or flo"),
        *((float(n), "float32", "upstream gives.*not fin") for n in ("nan", "-inf")),
    ],
)
def test_numbers_that_cannot_be_stored(tmp_path, wavs, factor, dtype, message):
    class Loud(FbankUpstream):
        def forward(self, wavs, wav_lens=None):
            layers, lengths = super().forward(wavs, wav_lens)
            layers[..., 7] *= factor
            return layers, lengths

    with pytest.raises(InputError, match=message):
        fill(tmp_path / "cache", wavs, Loud(), dtype)
    assert entries(make_store(tmp_path / "cache", dtype=dtype)) == {}


def test_bfloat16_on_request(tmp_path, wavs, model, capsys):
    """Another folder, an error near the eight bits' own, and it is printed."""
    upstream = Watched(model)
    full = fill(tmp_path, wavs, upstream, "float32")
    half = fill(tmp_path, wavs, upstream, "float32", extract_precision="bf16")
    assert half.store.folder != full.store.folder
    pairs = [(half.read(key), full.read(key)) for key in wavs]
    norms = [((h - f).norm(dim=(1, 2)), f.norm(dim=(1, 2))) for h, f in pairs]
    errors = torch.stack([off / norm for off, norm in norms])
    assert 1e-4 < errors.min() < errors.max() < 0.05
    pattern = r"bf16: error .* ([\d.]+)% on average .* ([\d.]+)% in the worst"
    printed = re.search(pattern, capsys.readouterr().out)
    wanted = (100 * errors.mean().item(), 100 * errors.mean(dim=0).max().item())
    assert tuple(map(float, printed.groups())) == pytest.approx(wanted, rel=0.5)
    # the upstream itself still computes in float32
    again = fill(tmp_path / "again", wavs, upstream, "float32")
    assert entries(again.store) == entries(full.store)


@pytest.mark.parametrize(("factor", "figure"), [(1.05, r"5\.0%"), ("nan", "nan%")])
def test_a_large_error_of_bfloat16_is_refused(
    tmp_path, wavs, model, monkeypatch, factor, figure
):
    """One layer comes out wrong, as on a processor with a faulty convolution."""
    scale = torch.tensor([1, 1.02, float(factor), 1])[:, None, None]

    def wrong(self):
        self.register_forward_hook(lambda _m, _i, got: (got[0] * scale, got[1]))
        return self

    monkeypatch.setattr(FrozenUpstream, "use_bfloat16", wrong)
    message = rf"layer 2 .*by {figure}.*add --extract_precision fp32"
    with pytest.raises(InputError, match=message):
        fill(tmp_path / "cache", wavs, model, extract_precision="bf16")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
