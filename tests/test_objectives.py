"""What heads are trained towards, how classes weigh, which rate chooses the epoch."""

import json
import math
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from releases import make_release
from runs import (
    command_line,
    cut_after,
    grid_of,
    heads_equal,
    history,
    outcome,
    quick_training,
    settings_file,
    train,
    train_program,
)
from sklearn.utils.class_weight import compute_class_weight

from sercorr.data.batches import make_dataset
from sercorr.errors import InputError
from sercorr.training import heads
from sercorr.training.heads import HeadInTraining, balanced_weights

LABELS = ["neu", "hap", "ang", "sad"]
RATES = ("wa", "ua", "macro_f1")


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A release whose raters are divided, and not always for the label."""
    folder = make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)
    for file in folder.rglob("Ses*.txt"):
        text = file.read_text()
        text = text.replace("C-E3:\tAnger;", "C-E3:\tSadness; Frustration;")
        text = text.replace("\tHappiness;", "\tSurprise;")  # both raters: no vote left
        file.write_text(text.replace("C-E2:\tSadness;", "C-E2:\tNeutral state;"))
    return folder


@pytest.fixture
def store(release) -> dict:
    return {"cache_folder": release.with_name("store")}


def make_head(**settings) -> HeadInTraining:
    hparams = {"labels": LABELS, "seed": 1, **settings}
    return HeadInTraining("head", torch.nn.Linear(1, 1), hparams, None, None)


# The loss, against loops in float64

MANIFEST = {
    f"{emotion}{number}": {"emo": emotion}
    for emotion, count in (("neu", 5), ("hap", 2), ("ang", 1), ("sad", 4))
    for number in range(count)
}
WEIGHTS = {"neu": 12 / 20, "hap": 12 / 8, "ang": 12 / 4, "sad": 12 / 16}
TARGETS = [0, 2, 3, 3, 1]
SHARES = [
    [0.5, 0, 0.25, 0.25],
    [0, 1, 0, 0],
    [1, 0, 0, 0],
    [0, 0.5, 0.5, 0],
    [0.25] * 4,
]


def expected_loss(logits, smoothing: float, weights, by_votes: bool) -> float:
    losses, divisors = [], []
    for row, target, shares in zip(logits.tolist(), TARGETS, SHARES, strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        wanted = shares if by_votes else [float(k == target) for k in range(4)]
        losses.append(0.0)
        for k, value in enumerate(row):
            smoothed = (1 - smoothing) * wanted[k] + smoothing / 4
            losses[-1] -= weights[k] * smoothed * (value - norm)
        divisors.append(1.0 if by_votes else weights[target])
    return sum(losses) / sum(divisors)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("by_votes", [False, True])
def test_the_loss_is_that_of_a_loop(smoothing, weighs, by_votes):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)) * 2
    head = make_head(
        loss=partial(torch.nn.functional.cross_entropy, label_smoothing=smoothing),
        class_weights="balanced" if weighs else "none",
        targets="votes" if by_votes else "labels",
    )
    head.prepare(MANIFEST)
    batch = SimpleNamespace(target=TARGETS, soft_target=SHARES)
    weights = [WEIGHTS[label] if weighs else 1.0 for label in LABELS]
    expected = expected_loss(logits.double(), smoothing, weights, by_votes)
    found = head.training_loss(logits, batch).item()
    assert found == pytest.approx(expected, rel=1e-6)
    if not by_votes and not weighs:  # the paper's loss, to the bit
        plain = torch.nn.functional.cross_entropy(
            logits, torch.tensor(TARGETS), label_smoothing=smoothing
        )
        assert found == plain.item()


def test_balanced_weights_are_scikit_learns():
    generator = np.random.default_rng(0)
    for _ in range(20):
        emotions = generator.choice(LABELS, size=60, p=[0.5, 0.1, 0.3, 0.1]).tolist()
        if set(emotions) == set(LABELS):
            expected = compute_class_weight(
                "balanced", classes=np.array(LABELS), y=emotions
            )
            assert balanced_weights(emotions, LABELS) == pytest.approx(expected)
            each = dict(zip(LABELS, balanced_weights(emotions, LABELS), strict=True))
            assert np.mean([each[name] for name in emotions]) == pytest.approx(1)


def test_a_class_without_a_training_clip_cannot_be_weighed():
    few = {key: entry for key, entry in MANIFEST.items() if entry["emo"] != "ang"}
    make_head().prepare(few)
    with pytest.raises(InputError, match="balanced: no training clip is ang; leave"):
        make_head(class_weights="balanced").prepare(few)


# Targets

VOTES = [
    ("neu", {"neu": 3.0, "fru": 1.0}, [1, 0, 0, 0]),
    ("hap", {"sad": 1.0, "hap": 2.0, "oth": 9.0}, [0, 2 / 3, 0, 1 / 3]),
    ("ang", {"fru": 3.0}, [0, 0, 1, 0]),  # no vote for the labels: its label
    ("sad", {"neu": 0.0}, [0, 0, 0, 1]),
    ("sad", None, [0, 0, 0, 1]),
    ("ang", {"hap": 0.5, "neu": 0.5}, [0.5, 0.5, 0, 0]),  # nobody for its label
]


def test_items_have_the_raters_distribution():
    features = SimpleNamespace(item="id", add_to=lambda dataset: None)
    manifest = {
        str(n): {"emo": e, "vote_counts": v} for n, (e, v, _) in enumerate(VOTES)
    }
    del manifest["4"]["vote_counts"]
    items = make_dataset(manifest, LABELS, features)
    for item, (emotion, _, expected) in zip(items, VOTES, strict=True):
        assert item["target"] == LABELS.index(emotion)
        assert item["soft_target"] == pytest.approx(expected)
    backwards = make_dataset(manifest, LABELS[::-1], features)
    for item, (_, _, expected) in zip(backwards, VOTES, strict=True):
        assert item["soft_target"] == pytest.approx(expected[::-1])


def test_clips_without_votes_are_counted_and_said(release, tmp_path, store, capsys):
    train(release, tmp_path / "out", targets="votes", **store)
    manifest = json.loads((tmp_path / "out/manifests/fold_1/train.json").read_text())
    # that is what the raters' files were made to say
    unvoted = sum(entry["code"] == "hap" for entry in manifest.values())
    assert 0 < unvoted < len(manifest)
    record = json.loads((tmp_path / "out/fold_1/run.json").read_text())
    expected = {"training_clips": len(manifest), "without_votes": unvoted}
    assert record["votes"] == expected
    note = f"{unvoted} of {len(manifest)} training clips have no rater's vote"
    assert capsys.readouterr().out.count(note) == 1
    train(release, tmp_path / "labels", **store)
    assert "votes" not in json.loads((tmp_path / "labels/fold_1/run.json").read_text())
    assert "rater's vote" not in capsys.readouterr().out


def test_votes_change_the_training_loss_alone(release, tmp_path, store):
    flat = {"lr": 1e-12, "label_smoothing": 0, "number_of_epochs": 1}
    for targets in ("labels", "votes"):
        train(release, tmp_path / targets, targets=targets, **flat, **store)
    labels, votes = (history(tmp_path / n / "fold_1")[0] for n in ("labels", "votes"))
    assert labels["train_loss"] != votes["train_loss"]
    assert labels["valid_loss"] == pytest.approx(votes["valid_loss"], rel=1e-6)
    metrics = json.loads((tmp_path / "votes/fold_1/metrics.json").read_text())
    assert metrics["agreement"]["n"] == 7  # of 8; one has surprise alone


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "class_weights: balanced\nloss: !name:bare_loss.bare",
            "class numbers, and `weight`: .*keyword argument 'weight'",
        ),
        (
            "targets: votes\nloss: !name:torch.nn.functional.multi_margin_loss",
            "loss: it fails on made-up logits and shares of the raters' votes: ",
        ),
        ("loss: !name:torch.nn.functional.nll_loss {size: 3}", "class numbers: .*size"),
        ("class_weights: null", "class_weights is None; .*one of none, balanced"),
        ("class_weights: even", "class_weights is 'even'; .*one of none, balanced"),
        ("targets: raters", "targets is 'raters'; it must be one of labels, votes"),
        ("select_by: f1", "select_by is 'f1'; it must be one of wa, ua, macro_f1"),
    ],
)
def test_refused_before_anything_is_written(
    release, tmp_path, monkeypatch, text, message
):
    (tmp_path / "bare_loss.py").write_text(
        "def bare(logits, targets):\n    return logits.sum()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=message):
        train(release, tmp_path / "out", file=settings_file(tmp_path, text))
    assert not (tmp_path / "out").exists()


def test_votes_are_needed_where_they_are_the_targets(release, tmp_path):
    silent = Path(shutil.copytree(release, tmp_path / "silent"))
    for file in silent.rglob("Ses*.txt"):
        lines = file.read_text().splitlines()
        file.write_text("\n".join(li for li in lines if not li.startswith("C-E")))
    with pytest.raises(
        InputError, match="no clip of IEMOCAP has a rater's vote for an"
    ):
        train(silent, tmp_path / "out", targets="votes")
    assert not (tmp_path / "out").exists()


# The epoch that is tested

SCORES = {
    "wa": [50.0, 60.0, 40.0, 60.0, 55.0],  # the last is not the worst
    "ua": [20.0, 30.0, 70.0, 70.0, 10.0],
    "macro_f1": [65.0, 30.0, 20.0, 64.0, 65.0],
}
BEST = {"wa": 2, "ua": 3, "macro_f1": 1}  # the earliest of equals


@pytest.fixture
def scripted(monkeypatch):
    """Let each validation give the next of `SCORES`, whatever the head says."""
    real = heads.classification_metrics

    def start() -> None:
        numbers = iter(range(5))

        def score(*given):
            number = next(numbers)
            return {**real(*given), **{rate: SCORES[rate][number] for rate in SCORES}}

        monkeypatch.setattr(heads, "classification_metrics", score)

    return start


@pytest.mark.parametrize("rate", RATES)
def test_the_tested_epoch_is_the_best_by_the_chosen_rate(
    release, tmp_path, store, scripted, rate
):
    short = {"updates_per_epoch": 1, **store}
    scripted()
    train(release, tmp_path / "run", number_of_epochs=5, select_by=rate, **short)
    record = json.loads((tmp_path / "run/fold_1/run.json").read_text())
    best = BEST[rate]
    tested = {key: record["tested"][key] for key in ("epoch", "select_by")}
    assert tested == {"epoch": best, "select_by": rate}
    for name in RATES:
        assert record["tested"][f"valid_{name}"] == SCORES[name][best - 1]
        curve = [line[f"valid_{name}"] for line in history(tmp_path / "run/fold_1")]
        assert curve == SCORES[name]
    scripted()  # the head is that of this epoch: a run that ends there has the same
    train(release, tmp_path / "short", number_of_epochs=best, select_by=rate, **short)
    assert heads_equal(tmp_path / "short", tmp_path / "run")
    log = (tmp_path / "run/fold_1/train_log.txt").read_text()
    assert f"valid macro_f1: {SCORES['macro_f1'][0]:.4f}" in log
    assert record["identity"]["settings"]["select_by"] == rate


def test_another_choice_is_another_run(release, tmp_path, store):
    train(release, tmp_path, **store)
    for key, value in (
        ("select_by", "ua"),
        ("class_weights", "balanced"),
        ("targets", "votes"),
    ):
        with pytest.raises(InputError, match=f"holds another run .*{key}: "):
            train(release, tmp_path, **{key: value}, **store)


# Interrupted, and side by side

MIXED = {
    "plain": {},
    "votes": {"targets": "votes", "select_by": "macro_f1"},
    "balanced": {"class_weights": "balanced", "select_by": "ua"},
    "both": {"targets": "votes", "class_weights": "balanced"},
}


def test_an_interrupted_run_ends_as_if_it_was_not(
    release, tmp_path, store, monkeypatch
):
    options = {**MIXED["both"], "select_by": "ua", "ckpt_interval_steps": 2, **store}
    train(release, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        cut = cut_after(patch, 5)
        with pytest.raises(cut):
            train(release, tmp_path / "cut", **options)
    train(release, tmp_path / "cut", **options)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_heads_side_by_side_end_as_if_alone(release, tmp_path, store, capsys):
    text = "\n".join(f"{name}: {json.dumps(own)}" for name, own in MIXED.items())
    root = grid_of(tmp_path, text, command_line(release, tmp_path / "grid", **store))
    out = capsys.readouterr().out
    assert out.count("training clips have no rater's vote") == 1
    found = set()
    for name, own in MIXED.items():
        train(release, tmp_path / name, **own, **store)
        assert heads_equal(root / name, tmp_path / name), name
        found.add((root / name / "fold_1/head.safetensors").read_bytes())
    assert len(found) == len(MIXED)


def test_the_bar_says_which_rate_chose(release, tmp_path, store, capsys):
    with quick_training():
        line = command_line(release, tmp_path, select_by="macro_f1", **store)
        line.remove("--noprogressbar")
        train_program.main(line)
    assert "best valid macro F1=" in capsys.readouterr().err
