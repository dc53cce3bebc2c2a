"""Training from stored features: the same as live, from memory or from the disk."""

from pathlib import Path

import pytest
import torch
from releases import make_release
from runs import evaluate, history, probabilities, train

from sercorr.errors import InputError

FILES = ("head.safetensors", "predictions.csv", "metrics.json")


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("cached") / "release")


@pytest.fixture(scope="module")
def given(tiny_models) -> dict:
    return {"upstream_source": tiny_models["wavlm", "layer"], "lr": 0.01}


@pytest.fixture(scope="module")
def live(release, given) -> Path:
    folder = release.with_name("live")
    train(release, folder, **given)
    return folder


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 5e-6), ("float16", 0.01), ("bfloat16", 0.05)]
)
def test_cached_training_is_live_training(release, given, live, dtype, tolerance):
    folder, store = release.with_name(dtype), release.with_name("cache")
    train(release, folder, cache_folder=store, cache_dtype=dtype, **given)
    torch.testing.assert_close(
        probabilities(folder), probabilities(live), rtol=0, atol=tolerance
    )
    for one, other in zip(
        history(folder / "fold_1"), history(live / "fold_1"), strict=True
    ):
        assert one["train_loss"] == pytest.approx(
            other["train_loss"], abs=5 * tolerance
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_is_preloading(release, given, workers):
    contents = []
    for preload in (True, False):
        folder = release.with_name(f"preload-{preload}-{workers}")
        train(
            release,
            folder,
            cache_folder=release.with_name("cache"),
            preload=str(preload),
            num_workers=workers,
            **given,
        )
        contents.append([(folder / "fold_1" / name).read_bytes() for name in FILES])
    assert contents[0] == contents[1]


def test_a_replaced_wav_is_extracted_again(tmp_path, given):
    release = make_release(tmp_path / "release", odd=False)
    store = {"cache_folder": tmp_path / "store", **given}
    train(release, tmp_path / "first", **store)
    before = set((tmp_path / "store").rglob("*.safetensors"))
    wavs = sorted(release.glob("Session2/sentences/wav/*/*.wav"))
    wavs[0].write_bytes(wavs[1].read_bytes()[:-2000] + bytes(2000))
    train(release, tmp_path / "second", **store)
    assert len(set((tmp_path / "store").rglob("*.safetensors")) - before) == 1


@pytest.mark.parametrize("preload", ["True", "False"])
def test_a_damaged_entry_is_made_again(release, given, preload, tmp_path, caplog):
    store = {"cache_folder": tmp_path / "store", "preload": preload, **given}
    train(release, tmp_path / "whole", **store)
    entry = sorted((tmp_path / "store").rglob("*.safetensors"))[0]
    content = bytearray(entry.read_bytes())
    content[-5] ^= 4
    entry.write_bytes(content)
    train(release, tmp_path / "mended", **store)
    for name in FILES:
        one, two = (tmp_path / f / "fold_1" / name for f in ("whole", "mended"))
        assert one.read_bytes() == two.read_bytes()
    content[-5] ^= 4
    assert entry.read_bytes() == bytes(content)


def test_evaluation_reads_the_store(release, given, tmp_path):
    store = {"cache_folder": tmp_path / "store", **given}
    train(release, tmp_path / "out", **store)
    expected = (tmp_path / "out/fold_1/predictions.csv").read_bytes()
    evaluate(release, tmp_path / "out", **store)
    assert (tmp_path / "out/fold_1/predictions.csv").read_bytes() == expected


def test_bfloat16_is_for_stored_features(release, given, tmp_path):
    with pytest.raises(InputError, match="extract_precision.*cache_folder"):
        train(release, tmp_path / "out", extract_precision="bf16", **given)
    assert not (tmp_path / "out").exists()
