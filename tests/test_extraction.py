"""Extraction: the upstream's own numbers, made once, whoever makes them."""

import logging
import os
import re
import shutil
import sys
from collections import namedtuple

import extract_features
import pytest
import soundfile
import torch
from caches import MAX_SECONDS, entries, fill, flip_bit, make_store, write_clips
from models import FAMILIES, build_model
from releases import make_release, read_manifests

from sercorr.data.audio import read_audio
from sercorr.errors import InputError
from sercorr.features import checks, extraction
from sercorr.features.extraction import ensure_cached, extract
from sercorr.features.plan import Share, hash_files, plan_groups
from sercorr.features.store import FeatureStore
from sercorr.lobes.upstream import load_upstream, upstream_info
from sercorr.lobes.upstream.fbank import FbankUpstream
from sercorr.training.settings import load_settings

YAML = os.path.join(os.path.dirname(extract_features.__file__), "hparams/train.yaml")


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["wav2vec2", "group"]


@pytest.fixture
def wavs(tmp_path):
    return write_clips(tmp_path / "wavs", 12)


class Loud(FbankUpstream):
    """Gives features that are too large for float16, or not finite."""

    factor = 1e5

    def _layers(self, wavs, samples, frames):
        return super()._layers(wavs, samples, frames) * self.factor


def count_clips(upstream, counts):
    """Note how many clips the upstream sees at once."""
    upstream.register_forward_hook(
        lambda _module, inputs, _output: counts.append(len(inputs[0]))
    )
    return upstream


def must_not_load(*_):
    pytest.fail("the upstream was loaded though nothing is missing")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_an_entry_is_what_the_upstream_gives(tmp_path, wavs, model, dtype):
    upstream = load_upstream(str(model))
    alone = {key: upstream(read_audio(path)[None])[0][0] for key, path in wavs.items()}
    one_by_one = fill(tmp_path / "a", wavs, model, dtype, max_seconds=0.1)
    together = fill(tmp_path / "b", wavs, model, dtype)
    epsilon = torch.finfo(together.store.dtype).eps
    for key, wanted in alone.items():
        exact = one_by_one.read(key)
        assert torch.equal(exact, wanted.to(exact.dtype))
        got = together.read(key).float()
        assert together.shape(key) == got.shape == wanted.shape
        assert ((got - wanted).abs() / wanted.abs().max()).max() < epsilon + 5e-6


def test_features_are_made_once(tmp_path, wavs, model):
    counts = []
    store = make_store(tmp_path / "cache", model)

    def load():
        return count_clips(load_upstream(str(model)), counts)

    extract(load, store, wavs, MAX_SECONDS, progress=False)
    assert sum(counts) == 12
    assert max(counts) > 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    cached = extract(must_not_load, store, wavs, MAX_SECONDS, verify=True)
    [cached.read(key) for key in wavs]
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
    cached = fill(tmp_path / "b", {**twin, **renamed}, model)
    assert entries(cached.store) == wanted  # equal audio is one entry
    assert torch.equal(cached.read("twin"), cached.read("zclip00"))


def test_a_missing_clip_gets_the_same_bytes_again(tmp_path, wavs, model):
    cached = fill(tmp_path, wavs, model)
    wanted = entries(cached.store)
    for key in ("clip01", "clip05", "clip11"):
        cached.store.path(cached.digests[key]).unlink()
        fill(tmp_path, wavs, model)
        assert entries(cached.store) == wanted


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


def test_ranks_share_the_clips(tmp_path, wavs, model, monkeypatch, capsys):
    wanted = entries(fill(tmp_path / "alone", wavs, model).store)
    capsys.readouterr()
    store = make_store(tmp_path / "shared", model)
    seen = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        counts = []
        extract(
            lambda: count_clips(load_upstream(str(model)), counts),  # noqa: B023
            store,
            wavs,
            MAX_SECONDS,
        )
        seen.append(sum(counts))
        assert len(entries(store)) == sum(seen)
    assert min(seen) > 0
    assert sum(seen) == 12
    assert entries(store) == wanted
    captured = capsys.readouterr()
    assert captured.out.count("12 clips") == 1  # the first alone speaks
    assert captured.err.count("hashing audio: 100%") == 1
    monkeypatch.undo()
    assert Share.from_environment() == (0, 1)


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


def test_a_clip_that_changes_meanwhile_is_an_error(tmp_path, wavs):
    store = make_store(tmp_path / "cache")

    def load():  # after the files were hashed
        flip_bit(wavs["clip07"], 8 * 3000)
        return load_upstream("fbank")

    with pytest.raises(InputError, match=r"clip07.wav: the file changed while"):
        extract(load, store, wavs, MAX_SECONDS, progress=False)
    assert store.path(hash_files(wavs, False)["clip07"]).exists() is False


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
    cached = fill(tmp_path, wavs, model)
    store, wanted = cached.store, entries(cached.store)
    paths = [store.path(cached.digests[key]) for key in sorted(wavs)]
    generator = torch.Generator().manual_seed(3)
    flipped = paths[:4]
    for path in flipped:
        size = path.stat().st_size
        flip_bit(path, int(torch.randint(8 * size, (1,), generator=generator)))
    flip_bit(paths[4], 8 * 600)
    os.truncate(paths[5], 700)
    shutil.copy(paths[7], paths[6])  # another clip's
    with caplog.at_level(logging.WARNING):
        fill(tmp_path, wavs, model, verify=True)
    assert entries(store) == wanted
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 7
    for path in paths[:7]:
        assert sum(str(path) in text for text in messages) == 1
    assert all(text.endswith("; made again") for text in messages)
    assert "truncated: it has 700 bytes" in caplog.text
    assert "foreign: its audio is" in caplog.text
    assert "checksum" in caplog.text


def test_without_verify_sizes_and_headers_are_checked(tmp_path, wavs):
    cached = fill(tmp_path, wavs)
    wanted = entries(cached.store)
    os.truncate(cached.store.path(cached.digests["clip02"]), 700)
    fill(tmp_path, wavs)
    assert entries(cached.store) == wanted


def test_not_enough_room_is_refused(tmp_path, wavs, model, monkeypatch, capsys):
    store = make_store(tmp_path / "cache", model)
    frames = [
        load_upstream(str(model)).frames(len(read_audio(p))) for p in wavs.values()
    ]
    blocks = sum(-(-(512 + 4 * count * 32 * 2) // 4096) for count in frames)
    usage = namedtuple("usage", "total used free")

    def has(free):
        monkeypatch.setattr(
            checks.shutil, "disk_usage", lambda _: usage(10**9, 0, free)
        )

    has(blocks * 4096 - 1)
    with pytest.raises(InputError, match=f"{blocks * 4096} bytes.*make room, choose"):
        fill(tmp_path / "cache", wavs, model)
    assert entries(store) == {}
    has(blocks * 4096)
    fill(tmp_path / "cache", wavs, model)
    assert len(entries(store)) == 12
    needed = checks.in_units(blocks * 4096)
    assert f"12 clips (0.00 h) to extract: {needed} needed," in capsys.readouterr().out


def test_numbers_too_large_for_float16(tmp_path, wavs):
    store = make_store(tmp_path / "half")
    with pytest.raises(InputError, match=r"\.wav: a feature of size .*bfloat16 or flo"):
        extract(Loud, store, wavs, MAX_SECONDS, progress=False)
    for dtype in ("bfloat16", "float32"):
        store = make_store(tmp_path / dtype, dtype=dtype)
        cached = extract(Loud, store, wavs, MAX_SECONDS, progress=False)
        assert cached.read("clip00").abs().max() > 65504
        assert cached.read("clip00").isfinite().all()


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite(tmp_path, wavs, monkeypatch, number):
    factor = torch.ones(80)
    factor[7] = float(number)
    monkeypatch.setattr(Loud, "factor", factor)
    store = make_store(tmp_path / "cache", dtype="float32")
    with pytest.raises(InputError, match=r"\.wav: the upstream gives.*not finite"):
        extract(Loud, store, wavs, MAX_SECONDS, progress=False)
    assert entries(store) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_on_request(tmp_path, wavs, tiny_models, family, capsys):
    """Another folder, an error near the eight bits' own, and it is printed."""
    folder = str(tiny_models[family, "group"])
    full = fill(tmp_path, wavs, folder, "float32")
    info = upstream_info(folder).at_precision("bf16")
    store = FeatureStore(tmp_path, info, "float32")
    assert store.folder != full.store.folder
    capsys.readouterr()
    half = extract(
        lambda: load_upstream(folder), store, wavs, MAX_SECONDS, precision="bf16"
    )
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
    assert float(printed[1]) == pytest.approx(100 * errors.mean().item(), rel=0.5)
    assert float(printed[2]) < 5


def test_precisions_that_are_not_known(model):
    with pytest.raises(InputError, match="extract_precision is 'int8'; it must be one"):
        upstream_info(str(model)).at_precision("int8")
    with pytest.raises(InputError, match="extract_precision is 'bf16', but fbank"):
        upstream_info("fbank").at_precision("bf16")
    info = upstream_info(str(model))
    assert info.at_precision("fp32") == info


def test_bad_audio_is_named(tmp_path, wavs):
    (tmp_path / "wavs" / "clip04.wav").write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"clip04.wav: not readable as audio"):
        fill(tmp_path / "cache", wavs)
    wavs["clip04"] = tmp_path / "gone.wav"
    with pytest.raises(InputError, match=r"gone.wav: cannot be read"):
        fill(tmp_path / "cache", wavs)


def test_the_store_must_be_the_upstreams(tmp_path, wavs, model):
    with pytest.raises(ValueError, match="not the one that the store was made for"):
        extract(FbankUpstream, make_store(tmp_path, model), wavs, progress=False)


def test_a_folder_that_cannot_be_written(tmp_path, wavs):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the folder cannot be made"):
        fill(tmp_path / "file", wavs)


def test_the_command(tmp_path, monkeypatch, capsys):
    """A small release through the settings file: all five folds' clips."""
    release = make_release(tmp_path / "release", turns_per_session=8)
    arguments = [YAML, "--data_folder", str(release), "--upstream_source", "fbank"]
    arguments += ["--output_folder", str(tmp_path / "output")]
    monkeypatch.setattr(sys, "argv", ["extract_features.py", *arguments])
    with pytest.raises(InputError, match="cache_folder is not set; add: --cache_f"):
        extract_features.main()
    arguments += ["--cache_folder", str(tmp_path / "cache"), "--cache_dtype=float32"]
    monkeypatch.setattr(sys, "argv", ["extract_features.py", *arguments])
    extract_features.main()
    captured = capsys.readouterr()
    assert "40 clips" in captured.out
    assert "features of 40 clips -> " in captured.out
    assert "extracting 40/40 clips, " in captured.err
    assert "audio-seconds/s 100%" in captured.err
    # a fold's training finds everything there
    splits = read_manifests(tmp_path / "output" / "manifests")
    wavs = {
        key: entry["wav"].replace("{data_root}", str(release))
        for part in ("train", "valid", "test")
        for key, entry in splits[1, part].items()
    }
    assert len(wavs) == 40
    monkeypatch.setattr(extraction, "load_upstream", must_not_load)
    settings = load_settings(arguments)
    cached = ensure_cached(settings, upstream_info("fbank"), wavs)
    for key, path in wavs.items():
        wanted = load_upstream("fbank")(read_audio(path)[None])[0][0]
        torch.testing.assert_close(cached.read(key), wanted, rtol=1e-5, atol=1e-5)
