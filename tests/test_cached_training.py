"""Training from a cache: the same as live, from memory or from the disk."""

import json
from pathlib import Path

import pytest
import torch
from releases import make_release
from runs import quick_training

from sercorr.errors import InputError
from sercorr.features import cached
from sercorr.features.cached import CachedFeatures, available_memory
from sercorr.training.experiment import Fold, evaluate_fold, prepare, train_fold
from sercorr.training.settings import Settings, load_settings

TRAIN_YAML = (
    Path(__file__).parents[1] / "recipes/IEMOCAP/emotion_corr/hparams/train.yaml"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with quick_training():
        yield


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("cached") / "release")


@pytest.fixture(scope="module")
def source(tiny_models) -> Path:
    return tiny_models["wavlm", "layer"]


def settings_for(release: Path, source: Path, name: str, **overrides) -> Settings:
    settings = load_settings(
        [
            str(TRAIN_YAML),
            *("--data_folder", str(release)),
            *("--upstream_source", str(source)),
            *("--output_folder", str(release.with_name(name))),
            *("--number_of_epochs", "2", "--updates_per_epoch", "3"),
            *("--batch_size", "5", "--projection_size", "8", "--lr", "0.01"),
            *("--num_workers", "0", "--noprogressbar"),
        ],
        overrides,
    )  # fmt: skip
    prepare(settings)
    return settings


def probabilities(folder: str | Path) -> torch.Tensor:
    lines = (Path(folder) / "predictions.csv").read_text().splitlines()[1:]
    return torch.tensor([[float(x) for x in line.split(",")[3:]] for line in lines])


@pytest.fixture(scope="module")
def live(release, source) -> Settings:
    settings = settings_for(release, source, "live")
    train_fold(settings)
    return settings


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 2e-6), ("float16", 0.01), ("bfloat16", 0.05)]
)
def test_cached_training_is_live_training(release, source, live, dtype, tolerance):
    settings = settings_for(
        release, source, dtype, cache_folder=str(release.with_name("cache")),
        cache_dtype=dtype,
    )  # fmt: skip
    train_fold(settings)
    torch.testing.assert_close(
        probabilities(settings["fold_folder"]),
        probabilities(live["fold_folder"]),
        rtol=0,
        atol=tolerance,
    )
    histories = [
        json.loads((Path(s["fold_folder"]) / "history.json").read_text())
        for s in (settings, live)
    ]
    for one, other in zip(*histories, strict=True):
        assert one["train_loss"] == pytest.approx(
            other["train_loss"], abs=5 * tolerance
        )


def test_clips_are_the_upstreams_own(release, source):
    live_fold = Fold(settings_for(release, source, "own"))
    cached_fold = Fold(
        settings_for(
            release,
            source,
            "own",
            cache_folder=str(release.with_name("cache")),
            cache_dtype="float32",
        )
    )
    for split in ("train", "test"):
        found = {}
        for fold in (live_fold, cached_fold):
            features = fold.make_features()
            for batch in fold.make_loader(features, split):
                for name, clip in zip(batch.id, features.clips(batch), strict=True):
                    found.setdefault(name, []).append(clip)
        assert found.keys() == live_fold.splits[split].keys()
        for computed, stored in found.values():
            scale = computed.abs().max()
            torch.testing.assert_close(
                stored / scale, computed / scale, rtol=0, atol=5e-6
            )


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_is_preloading(release, source, workers):
    cache = str(release.with_name("cache"))
    names = {}
    for preload in (True, False):
        settings = settings_for(
            release, source, f"preload-{preload}-{workers}", cache_folder=cache,
            preload=preload, num_workers=workers,
        )  # fmt: skip
        train_fold(settings)
        folder = Path(settings["fold_folder"])
        names[preload] = [
            (folder / file).read_bytes()
            for file in ("head.safetensors", "predictions.csv", "metrics.json")
        ]
    assert names[True] == names[False]


def test_auto_preloads_what_fits(release, source, monkeypatch):
    settings = settings_for(
        release, source, "auto", cache_folder=str(release.with_name("cache"))
    )
    fold = Fold(settings)
    features = fold.make_features()
    assert features.preloaded
    assert features.workers(3) == 0
    needed = sum(clip.nbytes for clip in features._memory.values())
    monkeypatch.setattr(cached, "available_memory", lambda: 2 * needed - 1)
    streamed = fold.make_features()
    assert not streamed.preloaded
    assert streamed.workers(3) == 3
    with pytest.raises(InputError, match="preload is 'maybe'; it must be auto"):
        CachedFeatures(features.cached, [], preload="maybe")


def test_available_memory_is_under_all_memory():
    with open("/proc/meminfo", encoding="ascii") as lines:
        total = int(next(lines).split()[1]) * 1024
    assert 0 < available_memory() <= total


@pytest.mark.parametrize("preload", [True, False])
def test_a_damaged_entry_stops_training_with_its_name(release, source, preload):
    settings = settings_for(
        release, source, f"damaged-{preload}",
        cache_folder=str(release.with_name(f"cache-{preload}")), preload=preload,
    )  # fmt: skip
    features = Fold(settings).make_features()
    entry = features.cached.store.path(sorted(features.cached.digests.values())[0])
    content = bytearray(entry.read_bytes())
    content[-5] ^= 4
    entry.write_bytes(content)
    with pytest.raises(InputError, match=entry.stem):
        train_fold(settings)


def test_a_replaced_wav_is_extracted_again(tmp_path, source):
    release = make_release(tmp_path / "release")
    settings = settings_for(
        release, source, "replaced", cache_folder=str(tmp_path / "cache")
    )
    fold = Fold(settings)
    before = fold.make_features()
    wavs = [entry["wav"] for entry in fold.splits["train"].values()]
    Path(wavs[0]).write_bytes(Path(wavs[1]).read_bytes())
    after = fold.make_features()
    first, second = list(fold.splits["train"])[:2]
    assert torch.equal(after._memory[first], before._memory[second])
    assert not torch.equal(after._memory[first], before._memory[first])


def test_evaluation_reads_the_cache(release, source, live):
    settings = settings_for(
        release, source, "live", cache_folder=str(release.with_name("cache")),
        cache_dtype="float32",
    )  # fmt: skip
    expected = probabilities(live["fold_folder"])
    evaluate_fold(settings)
    found = probabilities(settings["fold_folder"])
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
