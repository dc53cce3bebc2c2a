"""Extraction: the upstream's own numbers, made once, whoever makes them."""

import logging
import os
import re
import shutil
import time
from collections import namedtuple

import pytest
import soundfile
import torch
from caches import (
    MAX_SECONDS,
    Watched,
    entries,
    fill,
    flip_bit,
    make_store,
    write_clips,
)
from models import FAMILIES, build_model

from sercorr.data.audio import read_audio
from sercorr.errors import InputError
from sercorr.features import extract, plan
from sercorr.features.plan import hash_files, plan_groups
from sercorr.lobes.upstream import FrozenUpstream, load_upstream
from sercorr.lobes.upstream.fbank import FbankUpstream


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["wav2vec2", "group"]


@pytest.fixture
def wavs(tmp_path):
    return write_clips(tmp_path / "wavs", 12)


class Loud(FbankUpstream):
    """Gives features that are too large for float16, or not finite."""

    factor = 1e5

    def forward(self, wavs, wav_lens=None):
        layers, lengths = super().forward(wavs, wav_lens)
        return layers * self.factor, lengths


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_an_entry_is_what_the_upstream_gives(tmp_path, wavs, model, dtype):
    upstream = load_upstream(str(model))
    alone = {key: upstream(read_audio(path)[None])[0][0] for key, path in wavs.items()}
    one_by_one = extract(
        upstream, wavs, cache_folder=tmp_path / "a", cache_dtype=dtype, progress=False
    )
    together = fill(tmp_path / "b", wavs, model, dtype)
    epsilon = torch.finfo(together.store.dtype).eps
    for key, wanted in alone.items():
        exact = one_by_one.read(key)
        assert torch.equal(exact, wanted.to(exact.dtype))
        got = together.read(key).float()
        assert got.shape == wanted.shape
        assert ((got - wanted).abs() / wanted.abs().max()).max() < epsilon + 5e-6


def test_features_are_made_once(tmp_path, wavs, model):
    upstream = Watched(model)
    fill(tmp_path / "cache", wavs, upstream)
    assert sum(upstream.groups) == 12
    assert max(upstream.groups) > 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    stored = fill(tmp_path / "cache", wavs, upstream, verify=True)
    assert all(stored.read(key).isfinite().all() for key in wavs)
    assert upstream.loads == 1
    # reading writes nothing, not even a folder's time
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_ids_order_and_places_do_not_matter(tmp_path, wavs, model):
    wanted = entries(fill(tmp_path / "a", wavs, model).store)
    moved = tmp_path / "moved"
    moved.mkdir()
    renamed = {}
    for key, path in sorted(wavs.items(), reverse=True):
        renamed[f"z{key}"] = shutil.copy(path, moved / f"x{path.name}")
    twin = {"twin": shutil.copy(wavs["clip00"], moved / "twin.wav")}
    stored = fill(tmp_path / "b", {**twin, **renamed}, model)
    assert entries(stored.store) == wanted  # equal audio is one entry
    assert torch.equal(stored.read("twin"), stored.read("zclip00"))


def test_a_missing_clip_gets_the_same_bytes_again(tmp_path, wavs, model):
    stored = fill(tmp_path, wavs, model)
    wanted = entries(stored.store)
    for key in ("clip01", "clip05", "clip11"):
        stored.store.path(stored.digests[key]).unlink()
        fill(tmp_path, wavs, model)
        assert entries(stored.store) == wanted


def test_groups_are_of_similar_length(wavs):
    digests = hash_files(wavs, progress=False)
    groups = plan_groups(digests, wavs, MAX_SECONDS)
    lengths = [[clip.samples for clip in group] for group in groups]
    flat = [samples for group in lengths for samples in group]
    assert flat == sorted(flat, reverse=True)
    assert sorted(flat) == sorted(soundfile.info(path).frames for path in wavs.values())
    limit = MAX_SECONDS * 16000
    assert all(len(group) * group[0] <= limit for group in lengths)
    for group in lengths[:-1]:
        assert (len(group) + 1) * group[0] > limit


def test_ranks_share_the_clips(tmp_path, wavs, model, monkeypatch, capsys, caplog):
    alone = fill(tmp_path / "alone", wavs, model, precision="bf16")
    wanted = entries(alone.store)
    shared = tmp_path / "shared"
    shutil.copytree(tmp_path / "alone", shared)
    for path in (shared / alone.store.folder.name).rglob("*.safetensors"):
        os.truncate(path, 100)
    capsys.readouterr()
    seen = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        upstream = Watched(model)
        stored = fill(shared, wavs, upstream, precision="bf16", progress=True)
        whole = [n for n, b in entries(stored.store).items() if b == wanted[n]]
        seen.append(len(whole))
    assert 0 < seen[0] < seen[1] < seen[2] == 12
    captured = capsys.readouterr()
    assert captured.out.count("12 clips (") == 1  # the first alone speaks
    assert captured.out.count("bf16: error") == 1
    assert captured.err.count("hashing audio: 100%") == 1
    assert captured.err.count("audio-seconds/s 100%") == 1
    assert caplog.text.count("made again") == 12


def test_a_replaced_clip_is_never_served_stale(tmp_path, wavs):
    """Same name, same size, same time: another content."""
    old = fill(tmp_path / "cache", wavs)
    path = wavs["clip03"]
    before = path.stat()
    flip_bit(path, 8 * 3000 + 6)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    new = fill(tmp_path / "cache", wavs)
    assert new.digests["clip03"] != old.digests["clip03"]
    wanted = load_upstream("fbank")(read_audio(path)[None])[0][0].half()
    assert torch.equal(new.read("clip03"), wanted)
    assert not torch.equal(new.read("clip03"), old.read("clip03"))


def test_files_are_hashed_once_per_process(tmp_path, wavs, monkeypatch):
    hashed = []
    digest = plan.file_digest
    monkeypatch.setattr(
        plan, "file_digest", lambda path: hashed.append(path) or digest(path)
    )
    time.sleep(0.2)  # a file that changed just now may change again unseen
    first = hash_files(wavs, progress=False)
    assert hash_files(wavs, progress=False) == first
    assert len(hashed) == 12
    before = wavs["clip03"].stat()
    flip_bit(wavs["clip03"], 8 * 3000)
    os.utime(wavs["clip03"], ns=(before.st_atime_ns, before.st_mtime_ns))
    time.sleep(0.2)
    second = hash_files(wavs, progress=False)
    assert [key for key in first if first[key] != second[key]] == ["clip03"]
    wavs["clip03"] = tmp_path / "nowhere.wav"
    with pytest.raises(InputError, match="nowhere.wav: cannot be read"):
        hash_files(wavs, progress=False)


def test_a_clip_that_changes_meanwhile_is_an_error(tmp_path, wavs):
    upstream = Watched("fbank")
    digest = hash_files(wavs, False)["clip07"]
    upstream.load = lambda _: flip_bit(wavs["clip07"], 8 * 3000) or upstream.upstream
    with pytest.raises(InputError, match=r"clip07.wav: the file changed while"):
        fill(tmp_path / "cache", wavs, upstream)
    assert not make_store(tmp_path / "cache").has(digest)


def test_another_model_at_the_same_path(tmp_path, wavs):
    folder = tmp_path / "model"
    build_model(folder, "hubert", "layer", seed=1)
    first = fill(tmp_path / "cache", wavs, folder)
    shutil.rmtree(folder)
    build_model(folder, "hubert", "layer", seed=2)
    second = fill(tmp_path / "cache", wavs, folder)
    assert second.store.folder != first.store.folder
    wanted = load_upstream(str(folder))(read_audio(wavs["clip00"])[None])[0][0]
    assert (second.read("clip00").float() - wanted).abs().max() < 0.02
    assert (first.read("clip00").float() - wanted).abs().max() > 0.2


def test_damaged_entries_are_named_and_made_again(tmp_path, wavs, model, caplog):
    stored = fill(tmp_path, wavs, model)
    store, wanted = stored.store, entries(stored.store)
    paths = [store.path(stored.digests[key]) for key in sorted(wavs)]
    generator = torch.Generator().manual_seed(3)
    for path in paths[:5]:
        size = path.stat().st_size
        flip_bit(path, int(torch.randint(8 * size, (1,), generator=generator)))
    os.truncate(paths[5], 700)
    shutil.copy(paths[7], paths[6])  # another clip's
    os.truncate(paths[8], 0)
    with caplog.at_level(logging.WARNING):
        fill(tmp_path, wavs, model)  # by headers and sizes
    quick = len(caplog.records)
    assert 3 <= quick < 8
    with caplog.at_level(logging.WARNING):
        fill(tmp_path, wavs, model, verify=True)
    assert entries(store) == wanted
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 8
    for path in [*paths[:7], paths[8]]:
        assert sum(str(path) in text for text in messages) == 1
    assert all(text.endswith("; made again") for text in messages)
    for reason in ("truncated", "foreign: its audio is", "checksum"):
        assert reason in caplog.text


def test_not_enough_room_is_refused(tmp_path, wavs, model, monkeypatch, capsys):
    upstream = Watched(model)
    frames = [upstream.frames(len(read_audio(path))) for path in wavs.values()]
    blocks = sum(-(-(512 + 4 * count * 32 * 2) // 4096) for count in frames)
    usage = namedtuple("usage", "total used free")

    def has(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, free))

    has(blocks * 4096 - 1)
    with pytest.raises(InputError, match=f"{blocks * 4096} bytes.*make room, choose"):
        fill(tmp_path / "cache", wavs, upstream)
    store = make_store(tmp_path / "cache", model)
    assert (entries(store), upstream.loads) == ({}, 0)
    has(blocks * 4096)
    fill(tmp_path / "cache", wavs, upstream)
    assert len(entries(store)) == 12
    assert sum(map(len, entries(store).values())) <= blocks * 4096
    needed = f"{blocks * 4.096:.1f} kB"
    assert f"12 clips (0.00 h) to extract: {needed} needed," in capsys.readouterr().out


def test_numbers_too_large_for_float16(tmp_path, wavs):
    with pytest.raises(InputError, match=r"\.wav: a feature of size .*bfloat16 or flo"):
        fill(tmp_path / "half", wavs, Loud())
    for dtype in ("bfloat16", "float32"):
        stored = fill(tmp_path / dtype, wavs, Loud(), dtype)
        assert stored.read("clip00").abs().max() > 65504
        assert stored.read("clip00").isfinite().all()


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite(tmp_path, wavs, monkeypatch, number):
    factor = torch.ones(80)
    factor[7] = float(number)
    monkeypatch.setattr(Loud, "factor", factor)
    with pytest.raises(InputError, match=r"\.wav: the upstream gives.*not finite"):
        fill(tmp_path / "cache", wavs, Loud(), "float32")
    assert entries(make_store(tmp_path / "cache", dtype="float32")) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_on_request(tmp_path, wavs, tiny_models, family, capsys):
    """Another folder, an error near the eight bits' own, and it is printed."""
    upstream = Watched(tiny_models[family, "group"])
    full = fill(tmp_path, wavs, upstream, "float32")
    capsys.readouterr()
    half = fill(tmp_path, wavs, upstream, "float32", precision="bf16")
    assert half.store.folder != full.store.folder
    errors = torch.stack(
        [
            (half.read(key) - full.read(key)).norm(dim=(1, 2))
            / full.read(key).norm(dim=(1, 2))
            for key in wavs
        ]
    )
    assert errors.min() > 1e-4
    assert errors.max() < 0.05
    printed = re.search(
        r"bf16: error of the features ([\d.]+)% on average over the layers, ([\d.]+)%",
        capsys.readouterr().out,
    )
    mean, worst = errors.mean().item(), errors.mean(dim=0).max().item()
    assert float(printed[1]) == pytest.approx(100 * mean, rel=0.5)
    assert float(printed[2]) == pytest.approx(100 * worst, rel=0.5)
    # the upstream itself still computes in float32
    wave = read_audio(wavs["clip00"])[None]
    exact = load_upstream(str(tiny_models[family, "group"]))(wave)[0]
    assert torch.equal(upstream.upstream(wave)[0], exact)


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
    with pytest.raises(
        InputError, match=rf"layer 2 .*by {figure}.*add --extract_precision fp32"
    ):
        fill(tmp_path / "cache", wavs, model, precision="bf16")
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("about.json"))


def test_settings_and_files_that_cannot_be_used(tmp_path, wavs, model):
    upstream = load_upstream(str(model))
    with pytest.raises(InputError, match="extract_precision is 'int8'; it must be one"):
        fill(tmp_path / "cache", wavs, upstream, precision="int8")
    with pytest.raises(InputError, match="extract_precision is 'bf16', but fbank"):
        fill(tmp_path / "cache", wavs, precision="bf16")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the folder cannot be made"):
        fill(tmp_path / "file", wavs)
    (tmp_path / "wavs" / "clip04.wav").write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"clip04.wav: not readable as audio"):
        fill(tmp_path / "cache", wavs)
