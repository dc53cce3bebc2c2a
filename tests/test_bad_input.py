"""Bad input to training and testing: one clear error, nothing half-written."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from releases import make_release
from runs import evaluate, outcome, quick_training, train

from sercorr.errors import InputError
from sercorr.files import read_json, write_json
from sercorr.lobes import EmotionHead

FINISHED = ("metrics.json", "predictions.csv", "head.safetensors")


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


@pytest.fixture(autouse=True)
def quiet_training():
    with quick_training():
        yield


def refused(release: Path, output: Path, message: str, **changes) -> str:
    """Train, which must fail with this message and finish nothing."""
    with pytest.raises(InputError, match=message) as caught:
        train(release, output, **changes)
    fold = output / "fold_1"
    assert not any((fold / name).exists() for name in FINISHED)
    assert not list(fold.glob(".*"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "median"}, r"pooling is 'median'.*mean_std, corr, attentive_corr"),
        ({"upstream_source": "no/such-model"}, r"no/such-model"),
        ({"fold": 6}, r"fold is 6; it must be one of 1, 2, 3, 4, 5"),
        ({"valid_ratio": 2}, r"valid_ratio is 2"),
        ({"valid_session": 9}, r"valid_session is 9"),
    ],
)
def test_settings_that_fit_nothing_claim_no_folder(release, tmp_path, changes, message):
    refused(release, tmp_path, message, **changes)
    assert not (tmp_path / "fold_1" / "run.json").exists()
    train(release, tmp_path, number_of_epochs=1)  # the folder is as good as new


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
    for program in (train, evaluate):
        with pytest.raises(InputError, match=f"{output}.*choose another"):
            program(release, output)
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
    classify, calls = EmotionHead.classify_clips, []

    def broken(head, clips):
        logits = classify(head, clips)
        calls.append(head.training)
        return logits * torch.nan if sum(calls) == 5 else logits

    with monkeypatch.context() as patch:
        patch.setattr(EmotionHead, "classify_clips", broken)
        error = refused(release, tmp_path / "out", r"train loss is nan at update 4")
    assert "--lr" in error
    assert "Ses0" in error
    train(release, tmp_path / "out")
    assert outcome(tmp_path / "out") == outcome(whole)


def test_another_run_in_the_folder(release, tmp_path, tiny_models):
    train(release, tmp_path)
    before = outcome(tmp_path)
    for changes, message in (
        (
            {"lr": 0.5, "n_heads": 1},
            r"fold_1 holds .*lr: 0\.0001 there, 0\.5 here; n_h",
        ),
        ({"max_grad_norm": 0.5}, r"max_grad_norm: 1\.0 there, 0\.5 here"),
        ({"precision": "bf16"}, r"precision: None there, bf16 here"),
        ({"valid_ratio": 0.5}, r"data\.train\.clips: 26 there, 16 here"),
        ({"upstream_source": tiny_models["hubert", "group"]}, r"upstream\.digest: "),
    ):
        for program in (train, evaluate):
            with pytest.raises(InputError, match=message) as caught:
                program(release, tmp_path, **changes)
            assert "choose another --output_folder" in str(caught.value)
    train(release, tmp_path)  # prepares the data of this run again
    assert outcome(tmp_path) == before


def test_a_corpus_that_has_changed(release, tmp_path):
    corpus = shutil.copytree(release, tmp_path / "corpus")
    train(corpus, tmp_path / "out")
    clip = sorted(corpus.glob("Session2/sentences/wav/*/*.wav"))[0]
    soundfile.write(clip, np.zeros(20000), 16000)
    with pytest.raises(InputError, match=r"holds a run .*data\.\w+\.sha256"):
        train(corpus, tmp_path / "out")


def test_a_run_without_a_checkpoint_protects_nothing(release, tmp_path, monkeypatch):
    def broken(head, clips):
        return torch.full((len(clips), 4), torch.nan, requires_grad=True)

    with monkeypatch.context() as patch:
        patch.setattr(EmotionHead, "classify_clips", broken)
        refused(release, tmp_path, "loss is nan at update 0", lr=0.5)
    with pytest.raises(InputError, match="no checkpoint with a validation"):
        evaluate(release, tmp_path, lr=0.5)
    train(release, tmp_path, lr=0.25)
    assert read_json(tmp_path / "fold_1" / "run.json")["settings"]["lr"] == 0.25


def test_testing_before_training(release, tmp_path):
    with pytest.raises(InputError, match="fold_1: no run is there; train this fold"):
        evaluate(release, tmp_path)
    assert not (tmp_path / "fold_1").exists()


def test_files_of_a_run_that_are_damaged(release, tmp_path):
    train(release, tmp_path)
    for name in ("run.json", "metrics.json"):
        path = tmp_path / "fold_1" / name
        content = path.read_bytes()
        path.write_bytes(content[:20])
        with pytest.raises(InputError, match=f"{name}: not valid JSON"):
            train(release, tmp_path)
        path.write_bytes(content)
