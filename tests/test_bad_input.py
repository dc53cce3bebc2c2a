"""Bad input to training and testing: one clear error, nothing half-written."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from releases import make_release
from runs import evaluate, outcome, train

from sercorr.errors import InputError
from sercorr.files import read_json, write_json
from sercorr.lobes import EmotionHead

FINISHED = ("metrics.json", "predictions.csv", "head.safetensors")


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


def refused(release: Path, output: Path, message: str, **changes) -> str:
    """Train, which must fail with this message and finish nothing."""
    with pytest.raises(InputError, match=message) as caught:
        train(release, output, **changes)
    fold = output / "fold_1"
    assert not any((fold / name).exists() for name in FINISHED)
    assert {path.name for path in fold.glob(".*")} <= {".lock"}
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "median"}, r"pooling is 'median'.*mean_std, corr, attentive_corr"),
        ({"upstream_source": "no/such-model"}, r"no/such-model"),
        ({"fold": 6}, r"fold is 6; it must be one of 1, 2, 3, 4, 5"),
        ({"valid_ratio": 2}, r"valid_ratio is 2"),
        ({"valid_session": 9}, r"valid_session is 9"),
        ({"n_folds": 4}, r"n_folds is 4.*5"),
        ({"labels": "[neu, bored]"}, r"bored"),
        ({"device": "cuda:7"}, r"--device is 'cuda:7', but \d+ GPUs are here"),
    ],
)
def test_settings_that_fit_nothing_claim_no_folder(release, tmp_path, changes, message):
    refused(release, tmp_path / "out", message, **changes)
    assert not (tmp_path / "out").exists()


def test_a_data_folder_that_is_missing(release, tmp_path):
    refused(tmp_path / "nothing", tmp_path / "out", "nothing: no such folder; expected")
    assert not (tmp_path / "out").exists()


def test_a_model_folder_without_weights(release, tmp_path, tiny_models):
    model = shutil.copytree(tiny_models["hubert", "group"], tmp_path / "model")
    (model / "model.safetensors").unlink()
    refused(release, tmp_path / "o", "model: no weights; put", upstream_source=model)


def test_a_model_folder_of_another_architecture(release, tmp_path, tiny_models):
    model = shutil.copytree(tiny_models["hubert", "group"], tmp_path / "model")
    config = read_json(model / "config.json")
    write_json(model / "config.json", {**config, "model_type": "bert"})
    refused(release, tmp_path / "out", "bert.*hubert", upstream_source=model)


@pytest.mark.parametrize("place", ["/sys/kernel/out", "file/out", "file"])
def test_an_output_folder_that_cannot_be_written(release, tmp_path, place):
    (tmp_path / "file").write_text("kept")
    output = tmp_path / place
    with pytest.raises(InputError, match=f"{output}.*choose another"):
        train(release, output)
    assert (tmp_path / "file").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_are_not_finite(release, tmp_path, workers):
    corpus = shutil.copytree(release, tmp_path / "corpus")
    clip = sorted(corpus.glob("Session*/sentences/wav/Ses02*/*.wav"))[0]
    sound, rate = soundfile.read(clip)
    sound[7] = np.nan
    soundfile.write(clip, sound, rate, subtype="FLOAT")
    message = f"{clip.name}: 1 of {len(sound)} samples are not finite.*index 7"
    refused(corpus, tmp_path / "out", message, num_workers=workers)


def test_a_loss_that_is_not_finite(release, tmp_path, monkeypatch):
    """What was saved before it stays, and the run can go on from there."""
    whole = tmp_path / "whole"
    train(release, whole)
    classify, calls = EmotionHead.forward, []

    def broken(head, layers, lengths=None):
        logits = classify(head, layers, lengths)
        calls.append(head.training)
        return logits * torch.nan if sum(calls) == 5 else logits

    with monkeypatch.context() as patch:
        patch.setattr(EmotionHead, "forward", broken)
        error = refused(release, tmp_path / "out", r"train loss is nan after 4 updates")
    assert "--lr" in error
    assert "Ses0" in error
    train(release, tmp_path / "out")
    assert outcome(tmp_path / "out") == outcome(whole)


def test_a_run_without_a_checkpoint_protects_nothing(release, tmp_path, monkeypatch):
    def broken(head, layers, lengths=None):
        value = torch.nan if head.training else 0.0
        return torch.full((len(layers), 4), value, requires_grad=True)

    with monkeypatch.context() as patch:
        patch.setattr(EmotionHead, "forward", broken)
        refused(release, tmp_path, "loss is nan after 0 updates", lr=0.5)
    with pytest.raises(InputError, match="no trained head is there"):
        evaluate(release, tmp_path, lr=0.5)
    train(release, tmp_path, lr=0.25)
    record = read_json(tmp_path / "fold_1" / "run.json")
    assert record["identity"]["settings"]["lr"] == 0.25


def test_testing_before_training(release, tmp_path):
    with pytest.raises(InputError, match="fold_1: no trained head is there; train it"):
        evaluate(release, tmp_path)
    assert not (tmp_path / "fold_1").exists()


def test_files_of_a_run_that_are_damaged(release, tmp_path):
    train(release, tmp_path)
    for name in ("run.json",):
        path = tmp_path / "fold_1" / name
        content = path.read_bytes()
        path.write_bytes(content[:20])
        with pytest.raises(InputError, match=f"{name}: not valid JSON"):
            train(release, tmp_path)
        path.write_bytes(content)


def test_torchrun_is_refused(release, tmp_path, monkeypatch):
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    refused(release, tmp_path / "out", r"torchrun shares only extract_features\.py")
    assert not (tmp_path / "out").exists()


def test_three_of_the_four_classes(release, tmp_path):
    metrics = train(release, tmp_path, labels="[neu, ang, sad]")
    assert metrics["labels"] == ["neu", "ang", "sad"]
    assert len(metrics["confusion"]) == 3
    assert metrics["n"] == 6


def test_the_seed_leaves_the_split_as_it_is(release, tmp_path):
    for seed in (1, 2):
        train(release, tmp_path / str(seed), seed=seed, number_of_epochs=1)
    lists = [
        {p.relative_to(tmp_path / s): p.read_bytes() for p in
         (tmp_path / s / "manifests").rglob("*.json") if p.name != "prepare.json"}
        for s in ("1", "2")
    ]  # fmt: skip
    assert lists[0] == lists[1]
    assert len(lists[0]) == 15
