"""All folds: what is run, what is skipped, what is written when one fails."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from releases import make_release
from runs import RECIPE, command_line, outcome, quick_training, train_program

from sercorr.errors import InputError
from sercorr.files import read_json
from sercorr.training.folds import run_folds
from sercorr.training.program import parse_arguments

SCRIPT = RECIPE / "train.py"
SHORT = {"number_of_epochs": 1, "updates_per_epoch": 2}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("corpus") / "release", odd=False)


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """Train in this process, where a process of its own was asked for; note it.

    Fold 4 fails while the list holds the word ``break``.
    """
    started = []

    original = subprocess.run

    def run_here(command, check=False, **options):
        if command[0] == "git":
            return original(command, check=check, **options)
        started.append(command)
        if ["break"] in started and fold_of(command) == 4:
            return SimpleNamespace(returncode=-9)
        with quick_training():
            train_program.main(command[2:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run_here)
    return started


def fold_of(command: list[str]) -> int:
    return parse_arguments(command[2:]).tree["fold"]


def folds_of(commands: list[list[str]]) -> list[int]:
    return [fold_of(command) for command in commands if command != ["break"]]


def test_all_folds_then_the_table(release, tmp_path, commands, capfd):
    line = command_line(release, tmp_path, **SHORT)
    assert run_folds(SCRIPT, line) == 0
    assert folds_of(commands) == [1, 2, 3, 4, 5]
    assert all(command[1] == str(SCRIPT) for command in commands)
    results = read_json(tmp_path / "results.json")
    singles = [read_json(tmp_path / f"fold_{k}" / "metrics.json") for k in range(1, 6)]
    assert results["folds"] == singles
    for rate in ("wa", "ua", "macro_f1"):
        found = [fold[rate] for fold in singles]
        assert results["mean"][rate] == pytest.approx(np.mean(found))
        assert results["std"][rate] == pytest.approx(np.std(found))
    assert "| WA" in (tmp_path / "results.md").read_text()
    assert len(list((tmp_path / "plots").glob("*.png"))) >= 3
    shown = capfd.readouterr().out
    assert "fold 5 of 5" in shown
    assert str(tmp_path / "results.json") in shown
    before = (tmp_path / "results.json").read_bytes()
    commands.clear()
    assert run_folds(SCRIPT, line) == 0
    assert commands == []
    assert capfd.readouterr().out.count("finished before, skipped") == 5
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_fold_that_fails_stops_no_other(release, tmp_path, commands, capfd):
    line = command_line(release, tmp_path, **SHORT)
    commands.append(["break"])
    assert run_folds(SCRIPT, [*line, "--folds", "3,4,5"]) == 1
    assert folds_of(commands) == [3, 4, 5]
    shown = capfd.readouterr()
    assert "fold 4 failed (exit status -9)" in shown.err
    assert "failed folds: 4." in shown.err
    assert "run the same command again" in shown.err
    found = [fold["fold"] for fold in read_json(tmp_path / "results.json")["folds"]]
    assert found == [3, 5]
    kept = outcome(tmp_path, 3)
    commands.clear()
    assert run_folds(SCRIPT, [*line, "--folds", "3,4,5"]) == 0
    assert folds_of(commands) == [4]
    assert outcome(tmp_path, 3) == kept
    found = [fold["fold"] for fold in read_json(tmp_path / "results.json")["folds"]]
    assert found == [3, 4, 5]


def test_no_fold_succeeds(release, tmp_path, commands, capfd):
    commands.append(["break"])
    line = command_line(release, tmp_path, **SHORT)
    assert run_folds(SCRIPT, [*line, "--folds=4"]) == 1
    assert "failed folds: 4." in capfd.readouterr().err
    assert not (tmp_path / "results.json").exists()


def test_folds_differ_in_data_alone(release, tmp_path, commands):
    line = command_line(release, tmp_path, **SHORT)
    assert run_folds(SCRIPT, [*line, "--folds", "3,1,3"]) == 0
    assert folds_of(commands) == [1, 3]
    runs = [read_json(tmp_path / f"fold_{fold}" / "run.json") for fold in (1, 3)]
    first, third = (
        {k: v for k, v in run["identity"]["settings"].items() if k != "fold"}
        for run in runs
    )
    assert first == third
    assert runs[0]["identity"]["data"] != runs[1]["identity"]["data"]
    rows = (tmp_path / "fold_3" / "predictions.csv").read_text().split()[1:]
    assert {row[:5] for row in rows} == {"Ses03"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1,x"], r"--folds is '1,x'; give numbers"),
        (["--folds="], r"--folds is ''; give numbers"),
        (["--folds", "2,6"], r"fold is 6; it must be one of 1, 2, 3, 4, 5"),
        (["--folds", "0"], r"fold is 0; it must be one of 1, 2, 3, 4, 5"),
        (["--poling", "mean"], r"--poling: no such setting"),
        (["--pooling", "median"], r"pooling is 'median'"),
    ],
)
def test_bad_input_starts_nothing(release, tmp_path, commands, words, message):
    line = command_line(release, tmp_path / "out", **SHORT)
    with pytest.raises(InputError, match=message):
        run_folds(SCRIPT, [*line, *words])
    assert commands == []
    assert not list(tmp_path.glob("out/fold_*/run.json"))


def test_a_folder_of_another_run_is_refused_before_any_training(
    release, tmp_path, commands
):
    line = command_line(release, tmp_path, **SHORT)
    assert run_folds(SCRIPT, [*line, "--folds", "2"]) == 0
    commands.clear()
    with pytest.raises(
        InputError, match=r"fold_2 holds another run .*lr: 0\.0001 there"
    ):
        run_folds(SCRIPT, [*line, "--lr", "0.5"])
    assert commands == []
