"""Sources of a batch's layers: stored or live, in memory or streamed, mended."""

import pickle

import psutil
import pytest
import torch
from caches import Watched, entries, flip_bit, read_batches, write_clips
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import DataLoader

from sercorr.errors import InputError
from sercorr.features import open_features
from sercorr.lobes.upstream import load_upstream


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["wavlm", "layer"]


@pytest.fixture
def wavs(tmp_path):
    """Nine clips; two have equal lengths."""
    wavs = write_clips(tmp_path / "wavs", 9)
    twins = write_clips(tmp_path / "twins", 1)
    return {**wavs, "twin": twins["clip00"]}


def open_stored(tmp_path, wavs, source, **options):
    options = {"cache_folder": tmp_path / "cache", "progress": False, **options}
    return open_features(source, wavs, **options)


def read_copies(features, wavs, workers=0):
    """Read all clips into memory of their own: what is mapped follows its file."""
    found = read_batches(features, wavs, workers)
    return {key: [clip.clone() for clip in clips] for key, clips in found.items()}


def same(found, wanted):
    """Whether all clips are equal to the bit."""
    assert found.keys() == wanted.keys()
    return all(torch.equal(found[key][0], wanted[key][0]) for key in wanted)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_way_to_read_gives_the_same(tmp_path, wavs, model, workers):
    upstream = load_upstream(str(model))
    live = open_features(upstream, wavs, max_batch_seconds=2.0)
    computed = read_batches(live, wavs, live.workers(workers))
    options = {"cache_dtype": "float32"}
    memory = open_stored(tmp_path, wavs, upstream, preload=True, **options)
    streamed = open_stored(tmp_path, wavs, upstream, preload=False, **options)
    assert (memory.preloaded, memory.workers(workers)) == (True, 0)
    assert (streamed.preloaded, streamed.workers(workers)) == (False, workers)
    wanted = read_batches(memory, wavs)
    assert same(read_batches(streamed, wavs, workers), wanted)
    assert wanted.keys() == computed.keys() == wavs.keys()
    for key, (clip,) in computed.items():
        scale = clip.abs().max()
        torch.testing.assert_close(
            wanted[key][0] / scale, clip / scale, rtol=0, atol=5e-6
        )


def test_batches_are_lists_of_what_was_read(tmp_path, wavs, model):
    """Clips of equal length are not stacked, and mapped files are not copied."""
    features = open_stored(tmp_path, wavs, load_upstream(str(model)), preload=False)
    items = [
        {"id": key, "target": 2, "layers": features.stored.read(key)}
        for key in ("clip00", "twin")
    ]
    batch = features.collate(items).to("cpu")
    assert (batch.id, batch.target) == (["clip00", "twin"], [2, 2])
    for item, own, clip in zip(items, batch.layers, features.clips(batch), strict=True):
        assert item["layers"].data_ptr() == own.data_ptr() == clip.data_ptr()
        assert clip.dtype == torch.float16


def test_loader_processes_need_no_upstream(tmp_path, wavs, model):
    """Where processes are not forked, what they are given is sent to them."""
    upstream = load_upstream(str(model))
    features = open_stored(tmp_path, wavs, upstream, preload=False)
    live = open_features(upstream, wavs)
    sent = pickle.dumps((features, features.collate, live.collate))
    weights = sum(p.nbytes for p in upstream.parameters())
    assert len(sent) < 0.2 * weights
    received, *_ = pickle.loads(sent)
    assert same(read_batches(received, wavs), read_batches(features, wavs))


def test_auto_preloads_what_fits(tmp_path, wavs, model, monkeypatch):
    upstream = load_upstream(str(model))
    features = open_stored(tmp_path, wavs, upstream)
    assert features.preloaded
    # equal audio is stored once, but kept for each clip
    sizes = [
        features.stored.store.path(d).stat().st_size
        for d in features.stored.digests.values()
    ]

    class Memory:
        available = 2 * sum(sizes) - 1

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    assert not open_stored(tmp_path, wavs, upstream).preloaded
    Memory.available += 1
    assert open_stored(tmp_path, wavs, upstream).preloaded
    with pytest.raises(InputError, match="preload is 'maybe'; it must be auto"):
        open_stored(tmp_path / "new", wavs, upstream, preload="maybe")
    assert not (tmp_path / "new").exists()


def test_bf16_is_for_stored_features(wavs, model):
    upstream = Watched(model)
    with pytest.raises(
        InputError, match=r"extract_precision is 'bf16', but.*--cache_f"
    ):
        open_features(upstream, wavs, extract_precision="bf16")
    assert upstream.loads == 0


def test_what_changes_the_numbers_is_in_the_identity(tmp_path, wavs, model):
    upstream = load_upstream(str(model))
    changes = ({}, {"cache_dtype": "float32"}, {"extract_precision": "bf16"})
    sources = [
        open_features(upstream, wavs),
        *(open_stored(tmp_path, wavs, upstream, **options) for options in changes),
    ]
    found = [source.identity() for source in sources]
    assert len({str(identity) for identity in found}) == 4
    again = open_stored(tmp_path, wavs, upstream, preload=False)
    assert again.identity() == found[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_mended_while_reading(tmp_path, wavs, model, caplog, workers):
    """The same bytes as before, one warning per file, nothing else disturbed."""
    upstream = Watched(model)
    features = open_stored(tmp_path, wavs, upstream, preload=False)
    store = features.stored.store
    content, wanted = entries(store), read_copies(features, wavs)
    loads, groups = upstream.loads, len(upstream.groups)
    features = open_stored(tmp_path, wavs, upstream, preload=False)
    assert upstream.loads == loads
    paths = [store.path(features.stored.digests[key]) for key in ("clip02", "clip05")]
    flip_bit(paths[0], 8 * 900)
    paths[1].unlink()
    torch.manual_seed(1)
    for _ in range(2):
        found = read_copies(features, wavs, workers)
        assert same(found, wanted)
    assert entries(store) == content
    assert upstream.groups[groups:] == [1, 1]  # clips, once each
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    for path, name in zip(paths, ("clip02", "clip05"), strict=True):
        (text,) = (text for text in messages if str(path) in text)
        assert text.endswith(f"; computed again from {wavs[name]}")


def test_mending_leaves_random_numbers_and_gradients_alone(tmp_path, wavs, model):
    upstream = Watched(model, lambda _: torch.rand(5))
    features = open_stored(tmp_path, wavs, upstream, preload=False)
    path = features.stored.store.path(features.stored.digests["clip01"])
    flip_bit(path, 8 * 900)
    batch = features.collate([{"id": "clip01", "layers": torch.empty(0)}])
    state = torch.get_rng_state()
    (clip,) = features.clips(batch)
    assert torch.equal(torch.get_rng_state(), state)
    weight = torch.ones(1, requires_grad=True)
    (weight * clip.float()).sum().backward()
    assert weight.grad.isfinite()


def test_damage_is_mended_while_preloading(tmp_path, wavs, model, caplog):
    """With bf16 too; the audio must still be what it was."""
    upstream = Watched(model)
    options = {"extract_precision": "bf16"}
    features = open_stored(tmp_path, wavs, upstream, **options)
    wanted, store = read_copies(features, wavs), features.stored.store
    content = entries(store)
    path = store.path(features.stored.digests["clip03"])
    flip_bit(path, 8 * 900)
    again = open_stored(tmp_path, wavs, upstream, **options)
    assert same(read_copies(again, wavs), wanted)
    assert entries(store) == content
    assert f"{path}: corrupt" in caplog.text
    features = open_stored(tmp_path, wavs, upstream, preload=False, **options)
    flip_bit(path, 8 * 900)
    wavs["clip03"].write_bytes(wavs["clip04"].read_bytes())
    with pytest.raises(InputError, match="clip03.wav: the file changed"):
        read_copies(features, wavs)


def test_a_batch_from_a_loader_process_is_one_open_file(tmp_path, wavs, model):
    """Else a large batch would have more open files than a system permits."""
    features = open_stored(tmp_path, wavs, load_upstream(str(model)), preload=False)
    dataset = DynamicItemDataset({key: {"target": 1} for key in wavs})
    features.add_to(dataset)
    dataset.set_output_keys(["id", "layers", "target"])
    loader = DataLoader(dataset, 10, collate_fn=features.collate, num_workers=1)
    (batch,) = loader
    assert len({clip.untyped_storage().data_ptr() for clip in batch.layers}) == 1
    assert all(clip.is_shared() for clip in batch.layers)
