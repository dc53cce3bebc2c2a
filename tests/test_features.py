"""Sources of a batch's layers: stored or live, in memory or streamed, mended."""

import pickle
from types import SimpleNamespace

import psutil
import pytest
import torch
from caches import Watched, entries, entry_of, flip_bit, read_batches, write_clips
from torch.testing import assert_close

from sercorr.errors import InputError
from sercorr.features import open_features
from sercorr.lobes.upstream import load_upstream

EXACT = {"rtol": 0, "atol": 0}


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["wavlm", "layer"]


@pytest.fixture
def wavs(tmp_path):
    """Nine clips, and one of them under a second name."""
    wavs = write_clips(tmp_path / "wavs", 9)
    return {**wavs, "twin": wavs["clip00"]}


def open_stored(tmp_path, wavs, source, **options):
    options = {"cache_folder": tmp_path / "cache", "progress": False, **options}
    return open_features(source, wavs, **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_way_to_read_gives_the_same(tmp_path, wavs, model, workers):
    upstream = load_upstream(str(model))
    live = open_features(upstream, wavs, max_batch_seconds=2.0)
    computed = read_batches(live, wavs, live.workers(workers))
    memory, streamed = (
        open_stored(tmp_path, wavs, upstream, preload=p, cache_dtype="float32")
        for p in (True, False)
    )
    assert (memory.preloaded, memory.workers(workers)) == (True, 0)
    assert (streamed.preloaded, streamed.workers(workers)) == (False, workers)
    wanted = read_batches(memory, wavs)
    assert_close(read_batches(streamed, wavs, workers), wanted, **EXACT)
    assert wanted.keys() == computed.keys() == wavs.keys()
    for key, clip in computed.items():
        off = (wanted[key] - clip).abs().max() / clip.abs().max()
        assert off < 5e-6


def test_batches_are_lists_of_what_was_read(tmp_path, wavs, model):
    """Clips of equal length are not stacked; nothing is copied again, or mapped."""
    features = open_stored(tmp_path, wavs, load_upstream(str(model)), preload=False)
    items = [
        {"id": key, "target": 2, "layers": features.read(key)}
        for key in ("clip00", "twin")
    ]
    batch = features.collate(items).to("cpu")
    assert (batch.id, batch.target) == (["clip00", "twin"], [2, 2])
    for item, own, clip in zip(items, batch.layers, features.clips(batch), strict=True):
        assert item["layers"].data_ptr() == own.data_ptr() == clip.data_ptr()
        assert clip.dtype == torch.float16
    before = clip.clone()
    entry_of(features, "twin").write_bytes(bytes(100))
    assert torch.equal(clip, before)  # it is in memory


def test_loader_processes_need_no_upstream(tmp_path, wavs, model):
    """Where processes are not forked, what they are given is sent to them."""
    upstream = load_upstream(str(model))
    features = open_stored(tmp_path, wavs, upstream, preload=False)
    sent = pickle.dumps(
        (features, features.collate, open_features(upstream, wavs).collate)
    )
    assert len(sent) < 0.2 * sum(p.nbytes for p in upstream.parameters())
    received = pickle.loads(sent)[0]
    assert_close(read_batches(received, wavs), read_batches(features, wavs), **EXACT)


def test_auto_preloads_what_fits(tmp_path, wavs, model, monkeypatch):
    upstream = load_upstream(str(model))
    features = open_stored(tmp_path, wavs, upstream)
    assert features.preloaded
    # equal audio is stored once, but kept for each clip
    needed = sum(entry_of(features, key).stat().st_size for key in wavs)
    memory = SimpleNamespace(available=2 * needed - 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert not open_stored(tmp_path, wavs, upstream).preloaded
    memory.available += 1
    assert open_stored(tmp_path, wavs, upstream).preloaded
    memory.available = 6 * needed - 1  # three processes side by side
    assert not open_stored(tmp_path, wavs, upstream, processes=3).preloaded
    assert open_stored(tmp_path, wavs, upstream, processes=2).preloaded
    memory.available += 1
    assert open_stored(tmp_path, wavs, upstream, processes=3).preloaded


def test_settings_and_files_that_cannot_be_used(tmp_path, wavs, model):
    upstream, fbank = Watched(model), Watched("fbank")
    file, bf16 = tmp_path / "file", {"extract_precision": "bf16"}
    file.write_text("")
    for source, clips, options, message in (
        (upstream, wavs, {"preload": "maybe"}, "preload is 'maybe'; it must be auto"),
        (upstream, wavs, {"cache_folder": None, **bf16}, "is 'bf16', but.*--cache_fo"),
        (fbank, wavs, bf16, "is 'bf16', but fbank"),
        (fbank, wavs, {"cache_folder": file}, "file/fbank.*the folder cannot be made"),
        (fbank, {"a": file}, {}, "file: empty"),
        (fbank, {"a": tmp_path / "no.wav"}, {}, "no.wav: cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            open_stored(tmp_path, clips, source, **options)
    assert upstream.loads == fbank.loads == 0
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("preload", "workers"), [(False, 0), (False, 1), (True, 0)])
def test_damage_is_mended(tmp_path, wavs, model, caplog, precision, preload, workers):
    """The same bytes as before, one warning per file, nothing else disturbed."""
    upstream = Watched(model, lambda _: torch.rand(5))
    options = {"preload": False, "extract_precision": precision}
    features = open_stored(tmp_path, wavs, upstream, **options)
    content, wanted = entries(features.store), read_batches(features, wavs)
    groups = len(upstream.groups)
    features = open_stored(tmp_path, wavs, upstream, **options)
    names = ("clip02", "clip05")
    paths = [entry_of(features, key) for key in names]
    flip_bit(paths[0], 8 * 900)
    paths[1].unlink()
    features.preload(preload)
    for _ in range(2):
        assert_close(read_batches(features, wavs, workers), wanted, **EXACT)
    assert entries(features.store) == content
    assert upstream.groups[groups:] == [1, 1]  # clips, once each
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    for path, name in zip(paths, names, strict=True):
        (text,) = (text for text in messages if str(path) in text)
        assert text.endswith(f"; computed again from {wavs[name]}")


def test_mending_leaves_random_numbers_and_gradients_alone(tmp_path, wavs, model):
    upstream = Watched(model, lambda _: torch.rand(5))
    features = open_stored(tmp_path, wavs, upstream, preload=False)
    entry_of(features, "clip01").unlink()
    batch = features.collate([{"id": "clip01", "layers": torch.empty(0)}])
    state = torch.get_rng_state()
    (clip,) = features.clips(batch)
    assert torch.equal(torch.get_rng_state(), state)
    weight = torch.ones(1, requires_grad=True)
    (weight * clip.float()).sum().backward()
    assert weight.grad.isfinite()
    entry_of(features, "clip03").unlink()
    wavs["clip03"].write_bytes(wavs["clip04"].read_bytes())  # not what was stored
    with pytest.raises(InputError, match="clip03.wav: the file changed"):
        read_batches(features, wavs)
