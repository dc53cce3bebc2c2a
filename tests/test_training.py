"""Training through the real settings file: learning, resuming, seeds, the test set."""

import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import safetensors.torch
import torch
from releases import make_release
from runs import (
    command_line,
    evaluate,
    history,
    make_settings,
    outcome,
    script_command,
    script_environment,
    train,
)

import sercorr.training.heads
from sercorr.lobes import load_upstream
from sercorr.lobes.upstream.fbank import FbankUpstream
from sercorr.lobes.upstream.ssl_model import SSLUpstream
from sercorr.training import EmotionBrain
from sercorr.training.checkpoints import AtomicCheckpointer
from sercorr.training.dataio import (
    dataio_prepare,
    open_run_features,
    plan_data,
    read_fold,
)
from sercorr.training.run import Run

LEARNING = {
    "number_of_epochs": 6,
    "updates_per_epoch": 20,
    "batch_size": 16,
    "projection_size": 16,
    "lr": 0.003,
    "label_smoothing": 0.0,
}

SHORT = {"number_of_epochs": 1, "updates_per_epoch": 2}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


@pytest.fixture(scope="module")
def plain(release, tmp_path_factory):
    """A run that nothing disturbed: its folder and what came of it."""
    folder = tmp_path_factory.mktemp("plain")
    train(release, folder)
    return folder, outcome(folder)


class Cut(BaseException):
    """Stands for a kill: nothing but the test may catch it."""


def cut_at(patch, owner, name: str, nth: int) -> None:
    """Let the ``nth`` call of a method raise `Cut`, before it does anything."""
    original, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        calls.append(name)
        if len(calls) == nth:
            raise Cut
        return original(*arguments, **options)

    patch.setattr(owner, name, counted)


# Learning


@pytest.mark.parametrize("upstream", ["fbank", "hubert"])
def test_it_learns(tmp_path, tiny_models, upstream):
    release = make_release(tmp_path / "release", 16, seconds=(0.5, 1.0), odd=False)
    source = tiny_models["hubert", "layer"] if upstream == "hubert" else upstream
    changes = {**LEARNING, "upstream_source": source}
    if upstream == "hubert":
        changes |= {"cache_folder": tmp_path / "cache", "lr": 0.01}
    metrics = train(release, tmp_path / "out", **changes)
    assert metrics["n"] == 16
    assert metrics["wa"] >= 60  # four classes: chance is 25
    records = history(tmp_path / "out" / "fold_1")
    losses = [record["train_loss"] for record in records]
    assert losses[-1] < 0.25
    assert losses[0] > 0.8
    assert [record["updates"] for record in records] == [20, 40, 60, 80, 100, 120]


def test_label_smoothing_is_in_the_training_loss_alone(release, tmp_path):
    changes = {**LEARNING, "cache_folder": tmp_path / "cache"}
    for name, smoothing in (("none", 0.0), ("much", 0.5)):
        train(release, tmp_path / name, **{**changes, "label_smoothing": smoothing})
    plain, smooth = (history(tmp_path / n / "fold_1")[-1] for n in ("none", "much"))
    # with smoothing 0.5 of 4 classes no loss is under the targets' entropy, 1.074
    assert smooth["train_loss"] > 1.07 > plain["train_loss"]
    assert smooth["valid_loss"] < 1.07


def test_half_precision_is_close(release, plain, tmp_path):
    train(release, tmp_path, precision="bf16")
    for half, full in zip(
        history(tmp_path / "fold_1"), plain[1]["history"], strict=True
    ):
        assert half["train_loss"] == pytest.approx(full["train_loss"], rel=0.05)
    assert outcome(tmp_path)["head.safetensors"] != plain[1]["head.safetensors"]


# Repeating and resuming


def test_the_same_seed_gives_the_same_and_another_does_not(release, plain, tmp_path):
    torch.manual_seed(99)  # what was drawn before does not matter
    train(release, tmp_path / "same")
    assert outcome(tmp_path / "same") == plain[1]
    train(release, tmp_path / "other", seed=4321)
    other = outcome(tmp_path / "other")
    assert other["head.safetensors"] != plain[1]["head.safetensors"]
    assert other["history"] != plain[1]["history"]


def test_workers_change_nothing(release, plain, tmp_path):
    train(release, tmp_path, num_workers=2)
    assert outcome(tmp_path) == plain[1]


CUTS = [
    *((EmotionBrain, "optimizers_step", nth) for nth in (2, 4, 5, 6)),
    (EmotionBrain, "on_stage_end", 1),  # first epoch trained
    (EmotionBrain, "evaluate_batch", 1),  # in its validation
    (EmotionBrain, "on_stage_end", 2),  # validated
    (AtomicCheckpointer, "save_checkpoint", 2),  # recorded in the history, not saved
    (AtomicCheckpointer, "delete_checkpoints", 4),
    (Run, "finish", 1),
]


@pytest.mark.parametrize(("owner", "name", "nth"), CUTS)
def test_a_run_cut_short_ends_as_if_it_had_not_been(
    release, plain, tmp_path, monkeypatch, owner, name, nth
):
    with monkeypatch.context() as patch:
        cut_at(patch, owner, name, nth)
        with pytest.raises(Cut):
            train(release, tmp_path, ckpt_interval_steps=2)
    assert not (tmp_path / "fold_1" / "metrics.json").exists()
    train(release, tmp_path, ckpt_interval_steps=2)
    assert outcome(tmp_path) == plain[1]


def test_a_resumed_run_does_not_begin_again(release, tmp_path, monkeypatch):
    updates = []
    original = EmotionBrain.fit_batch

    def noted(brain, batch):
        updates.append(batch.id)
        return original(brain, batch)

    monkeypatch.setattr(EmotionBrain, "fit_batch", noted)
    with monkeypatch.context() as patch:
        cut_at(patch, EmotionBrain, "optimizers_step", 5)
        with pytest.raises(Cut):
            train(release, tmp_path, ckpt_interval_steps=1)
    assert len(updates) == 5
    train(release, tmp_path, ckpt_interval_steps=1)
    assert len(updates) == 7  # the fifth once more, then the sixth
    assert updates[5] == updates[4]


def test_a_run_killed_in_an_epoch_and_after_one(release, tmp_path):
    """SIGKILL, twice; the steps are many, so that the kill comes between them."""
    changes = {"updates_per_epoch": 40, "ckpt_interval_steps": 3}
    killed, fold = tmp_path / "killed", tmp_path / "killed" / "fold_1"
    for arrived in (
        lambda: any(fold.glob("checkpoints/CKPT+*/CKPT.yaml")),
        (fold / "history.json").exists,
    ):
        process = subprocess.Popen(
            script_command("train.py", command_line(release, killed, **changes)),
            env=script_environment(),
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 120
        while not arrived() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (fold / "metrics.json").exists()
    train(release, killed, **changes)
    train(release, tmp_path / "whole", **changes)
    assert outcome(killed) == outcome(tmp_path / "whole")


def test_a_finished_run_is_left_alone(release, plain, monkeypatch):
    cut_at(monkeypatch, EmotionBrain, "evaluate_batch", 1)
    monkeypatch.setattr(torch.Tensor, "backward", None)
    assert train(release, plain[0]) == json.loads(plain[1]["metrics.json"])
    assert outcome(plain[0]) == plain[1]


# Batches do not matter


def test_how_much_the_upstream_sees_at_once_changes_nothing(
    release, tiny_models, tmp_path
):
    changes = {"upstream_source": tiny_models["hubert", "group"], **SHORT}
    for folder, most in (("a", 60), ("b", 0.5)):
        train(release, tmp_path / folder, max_batch_seconds=most, **changes)
    one, two = (
        safetensors.torch.load_file(tmp_path / n / "fold_1" / "head.safetensors")
        for n in "ab"
    )
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    lines = (
        (tmp_path / n / "fold_1" / "predictions.csv").read_text().split() for n in "ab"
    )
    for first, second in zip(*lines, strict=True):
        one, two = first.split(","), second.split(",")
        assert one[:3] + one[7:] == two[:3] + two[7:]
        if one[0] != "id":
            numbers = ([float(x) for x in row[3:7]] for row in (one, two))
            assert next(numbers) == pytest.approx(next(numbers), abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_of_a_test_changes_nothing(release, plain, batch_size):
    settings = make_settings(release, plain[0])
    hparams = {**settings.load(), "batch_size": batch_size}
    manifests = plan_data(hparams)
    features = open_run_features(hparams, settings.run_opts, manifests.clips)
    test = {"test": read_fold(hparams, manifests)["test"]}
    loader = dataio_prepare(hparams, settings.run_opts, test, features)["test"]
    brain = EmotionBrain(
        modules=hparams["modules"],
        hparams={**hparams, "features": features},
        run_opts=settings.run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.evaluate(loader)
    outcome = brain.heads[0].outcome
    found = dict(zip(outcome.ids, outcome.probabilities, strict=True))
    rows = plain[1]["predictions.csv"].decode().split()[1:]
    assert len(rows) == len(found) == 8
    for row in rows:
        identity, _, _, *numbers = row.split(",")[:7]
        assert [float(x) for x in numbers] == pytest.approx(found[identity], abs=2e-6)


# What is trained, saved and tested


@pytest.mark.parametrize("upstream", ["fbank", "hubert"])
def test_the_upstream_stays_as_it_is(
    release, tiny_models, tmp_path, monkeypatch, upstream
):
    """Though `Brain.fit` switches its modules to training mode."""
    kind = FbankUpstream if upstream == "fbank" else SSLUpstream
    source = upstream if upstream == "fbank" else tiny_models["hubert", "group"]
    used, modes = [], Counter()
    original = kind.forward

    def noted(module, *arguments, **options):
        used.append(module)
        modes.update(part.training for part in module.modules())
        layers, lengths = original(module, *arguments, **options)
        assert not layers.requires_grad
        return layers, lengths

    monkeypatch.setattr(kind, "forward", noted)
    train(release, tmp_path, upstream_source=source, **SHORT)
    assert set(modes) == {False}
    assert len(set(map(id, used))) == 1
    now = used[0].state_dict()
    fresh = load_upstream(str(source)).state_dict()
    torch.testing.assert_close(now, fresh, rtol=0, atol=0)


def test_checkpoints_hold_the_head_alone(release, tiny_models, tmp_path):
    source = tiny_models["hubert", "group"]
    train(release, tmp_path, upstream_source=source, **SHORT)
    fold = tmp_path / "fold_1"
    head = safetensors.torch.load_file(fold / "head.safetensors")
    folders = list(fold.glob("checkpoints/CKPT+*"))
    assert folders
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        parts = {"brain.ckpt", "counter.ckpt", "head.ckpt", "optimizer.ckpt"}
        assert names == {*parts, "CKPT.yaml"}
        saved = torch.load(folder / "head.ckpt", weights_only=True)
        assert saved.keys() == head.keys()
        moments = torch.load(folder / "optimizer.ckpt", weights_only=True)
        shapes = [state["exp_avg"].shape for state in moments["state"].values()]
        assert Counter(shapes) == Counter(tensor.shape for tensor in head.values())


def script_scores(patch, scores: list[float]) -> None:
    """Let the validations after each epoch find these accuracies."""
    original, left = sercorr.training.heads.classification_metrics, iter(scores)

    def scripted(truth, predicted, labels):
        return {**original(truth, predicted, labels), "wa": next(left)}

    patch.setattr(sercorr.training.heads, "classification_metrics", scripted)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([50.0, 60.0, 60.0, 40.0], 2),
        ([50.0, 50.0, 50.0, 50.0], 1),
        ([10.0, 20.0, 30.0, 40.0], 4),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_the_best_epoch_is_tested_the_earliest_of_equals(
    release, tmp_path, monkeypatch, scores, best, cut
):
    done = 0
    if cut:  # in the third epoch
        with monkeypatch.context() as patch:
            script_scores(patch, scores)
            cut_at(patch, EmotionBrain, "optimizers_step", 8)
            with pytest.raises(Cut):
                train(release, tmp_path / "long", number_of_epochs=4)
        done = 2
    with monkeypatch.context() as patch:
        script_scores(patch, scores[done:])
        train(release, tmp_path / "long", number_of_epochs=4)
    with monkeypatch.context() as patch:
        script_scores(patch, [float(epoch) for epoch in range(1, best + 1)])
        train(release, tmp_path / "short", number_of_epochs=best)
    long, short = outcome(tmp_path / "long"), outcome(tmp_path / "short")
    for name in ("head.safetensors", "predictions.csv", "metrics.json"):
        assert long[name] == short[name]
    assert len(long["history"]) == 4


def test_the_test_set_is_opened_once_and_last(release, tmp_path, monkeypatch):
    seen = []
    original = EmotionBrain.compute_forward

    def noted(brain, batch, stage):
        seen.extend(batch.id)
        return original(brain, batch, stage)

    monkeypatch.setattr(EmotionBrain, "compute_forward", noted)
    train(release, tmp_path)
    lists = tmp_path / "manifests" / "fold_1"
    test, valid = (
        json.loads((lists / f"{name}.json").read_text()) for name in ("test", "valid")
    )
    assert sorted(seen[-len(test) :]) == sorted(test)
    assert not set(seen[: -len(test)]) & set(test)
    assert Counter(name for name in seen if name in valid) == dict.fromkeys(valid, 2)


@pytest.mark.parametrize("lost", [["metrics.json"], None])
def test_evaluating_gives_the_same_bytes(release, plain, tmp_path, lost):
    shutil.copytree(plain[0], tmp_path, dirs_exist_ok=True)
    before, fold = plain[1], tmp_path / "fold_1"
    names = [
        "metrics.json",
        "predictions.csv",
        "head.safetensors",
        "layer_weights.json",
    ]
    for name in names if lost is None else lost:
        (fold / name).unlink()
    assert evaluate(release, tmp_path) == json.loads(before["metrics.json"])
    assert outcome(tmp_path) == before


def test_evaluating_trains_nothing(release, plain, monkeypatch):
    cut_at(monkeypatch, torch.optim.Adam, "step", 1)
    cut_at(monkeypatch, EmotionBrain, "fit_batch", 1)
    assert evaluate(release, plain[0])["n"] == 8
    assert outcome(plain[0]) == plain[1]
