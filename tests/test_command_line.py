"""The recipe's programs in processes of their own: exit status, messages, files."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from releases import make_release
from runs import QUICK, command_line, history, outcome, run_script

from sercorr.files import read_json

LEARNING = {
    **QUICK,
    "number_of_epochs": 6,
    "updates_per_epoch": 20,
    "batch_size": 16,
    "projection_size": 16,
    "lr": 0.003,
    "label_smoothing": 0.0,
}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", 16, (0.5, 1.0))


def failed(done: subprocess.CompletedProcess, status: int, *parts: str) -> None:
    """Check the exit status, and that the message alone stands on stderr."""
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for part in parts:
        assert part in done.stderr


def test_train_and_evaluate(release, tmp_path):
    """A training that learns its clips, by the real settings and programs."""
    line = command_line(release, tmp_path, fold=2, **LEARNING)
    done = run_script("train.py", line)
    assert done.returncode == 0, done.stderr
    metrics = read_json(tmp_path / "fold_2" / "metrics.json")
    assert metrics["wa"] >= 60  # four classes: chance is 25
    assert history(tmp_path / "fold_2")[-1]["train_loss"] < 0.25
    shown = f"WA {metrics['wa']:.2f} %"
    assert shown in done.stdout
    plots = {path.name for path in (tmp_path / "fold_2/plots").iterdir()}
    assert plots == {"confusion.png", "layer_weights.png", "training_curves.png"}
    assert "error" not in done.stderr
    before = outcome(tmp_path, 2)
    (tmp_path / "fold_2" / "metrics.json").unlink()
    (tmp_path / "fold_2" / "predictions.csv").unlink()
    done = run_script("evaluate.py", line)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path, 2) == before
    assert read_json(tmp_path / "results.json")["folds"] == [metrics]


def test_one_fold_of_some_fails(release, tmp_path):
    line = command_line(release, tmp_path, number_of_epochs=1)
    (tmp_path / "fold_3").mkdir(parents=True)
    (tmp_path / "fold_3" / "train_log.txt").mkdir()  # what fold 3 cannot write
    done = run_script("run_folds.py", [*line, "--folds", "3,4"])
    failed(
        done,
        1,
        "train_log.txt: Is a directory",
        "fold 3 failed (exit status 2)",
        "error: failed folds: 3.",
        "run the same command again to resume",
    )
    assert [f["fold"] for f in read_json(tmp_path / "results.json")["folds"]] == [4]


def test_bad_input_is_one_line_and_status_2(release, tmp_path):
    line = [*command_line(release, tmp_path), "--poling", "mean"]
    done = run_script("run_folds.py", line)
    failed(done, 2, "error: --poling: no such setting; did")
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_bad_samples_met_by_a_loaders_worker(release, tmp_path):
    corpus = shutil.copytree(release, tmp_path / "corpus")
    for clip in corpus.glob("Session2/sentences/wav/*/Ses*.wav"):
        soundfile.write(clip, np.full(8000, np.inf), 16000, subtype="FLOAT")
    line = command_line(corpus, tmp_path / "out", num_workers=1)
    done = run_script("train.py", line)
    failed(done, 2, ".wav: 8000 of 8000 samples are not finite")
    assert done.stderr.splitlines()[-1].startswith(f"error: {corpus}")
