"""A grid: each head ends with exactly what it gets alone."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import matplotlib.image
import pytest
from releases import make_release
from runs import quick_training, script_command, script_environment, train_program

from sercorr.errors import InputError
from sercorr.lobes import EmotionHead
from sercorr.training import EmotionBrain
from sercorr.training import brain as brain_module
from sercorr.training.grid import run_grid
from sercorr.training.grid_file import read_grid

TRAIN_YAML = "recipes/IEMOCAP/emotion_corr/hparams/train.yaml"
FILES = ("head.safetensors", "predictions.csv", "metrics.json", "layer_weights.json")

GRID = {
    "attentive": {"n_heads": 2, "channel_dropout": 0.5},
    "smooth": {"pooling": "corr", "label_smoothing": 0.1, "lr": 0.003},
    "mean.0": {"pooling": "mean", "channel_dropout": 0.0, "max_grad_norm": 0.01},
    "short": {"pooling": "mean_std", "number_of_epochs": 1, "projection_size": 8},
    "seeded": {"seed": 7, "projection_size": 12},
    "batches": {"batch_size": 5, "updates_per_epoch": 3},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As many threads as the programs that these runs are compared with."""
    with quick_training():
        yield


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("grid") / "release")


@pytest.fixture(scope="module")
def arguments(release) -> list[str]:
    return [
        str(Path(__file__).parents[1] / TRAIN_YAML),
        *("--data_folder", str(release)),
        *("--cache_folder", str(release.with_name("cache"))),
        *("--upstream_source", "fbank", "--projection_size", "16"),
        *("--number_of_epochs", "2", "--updates_per_epoch", "4"),
        *("--batch_size", "6", "--lr", "0.01", "--num_workers", "0"),
        "--noprogressbar",
    ]  # fmt: skip


def write_grid(path: Path, grid: dict) -> Path:
    path.write_text("\n".join(f"{name}: {values}" for name, values in grid.items()))
    return path


@pytest.fixture(scope="module")
def alone(arguments, tmp_path_factory) -> Path:
    """All heads of the grid trained one by one by what train.py calls."""
    root = tmp_path_factory.mktemp("alone")
    for name, overrides in GRID.items():
        given = {**overrides, "fold": 2, "output_folder": root / name}
        words = [w for key, value in given.items() for w in (f"--{key}", str(value))]
        train_program.main([*arguments, *words])
    return root


def assert_same(found: Path, expected: Path, names: Iterable[str] = GRID) -> None:
    for name in names:
        for file in FILES:
            there, here = (root / name / "fold_2" / file for root in (found, expected))
            assert there.read_bytes() == here.read_bytes(), (name, file)


def run(arguments: list[str], root: Path, grid: dict = GRID) -> int:
    file = write_grid(root.with_suffix(".yaml"), grid)
    options = ["--folds", "2", "--output_folder", str(root), "--grid", str(file)]
    return run_grid([*arguments, *options])


def test_heads_that_differ_in_every_setting_end_as_if_alone(
    arguments, alone, tmp_path, capsys
):
    root = tmp_path / "grid"
    assert run(arguments, root) == 0
    assert_same(root, alone)
    heads = [(root / name / "fold_2/head.safetensors").read_bytes() for name in GRID]
    assert len(set(heads)) == len(GRID)
    assert (root / "attentive/results.md").exists()
    table = capsys.readouterr().out
    scores = json.loads((root / "grid.json").read_text())
    page = (root / "grid.md").read_text()
    for name in GRID:
        metrics = json.loads((alone / name / "fold_2/metrics.json").read_text())
        assert scores[name]["mean"]["wa"] == pytest.approx(metrics["wa"])
        for text in (table, page):
            rows = [line for line in text.splitlines() if f" {name} " in f" {line} "]
            assert any(f"{metrics['wa']:.2f}" in row for row in rows)
    assert matplotlib.image.imread(root / "grid.png").shape[1] == 1200


@pytest.mark.parametrize("stop_at", [2, 7, 12])
def test_an_interrupted_grid_goes_on(arguments, alone, tmp_path, monkeypatch, stop_at):
    root, updates = tmp_path / "grid", []
    grid = {name: GRID[name] for name in ("attentive", "short", "seeded")}

    def counted(self, step=EmotionBrain.optimizers_step):
        updates.append(self.step)
        if len(updates) == stop_at:
            raise KeyboardInterrupt
        step(self)

    every_update = [*arguments, "--ckpt_interval_steps", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(EmotionBrain, "optimizers_step", counted)
        with pytest.raises(KeyboardInterrupt):
            run(every_update, root, grid)
    assert run(every_update, root, grid) == 0
    assert_same(root, alone, grid)


@pytest.mark.parametrize("name", ["evaluate_batch", "on_stage_end"])
def test_a_grid_interrupted_between_training_and_validation_goes_on(
    arguments, alone, tmp_path, monkeypatch, name
):
    root, grid = tmp_path / "grid", {n: GRID[n] for n in ("attentive", "short")}

    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    every_update = [*arguments, "--ckpt_interval_steps", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(EmotionBrain, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(every_update, root, grid)
    assert run(every_update, root, grid) == 0
    assert_same(root, alone, grid)


def test_killed_again_and_again(arguments, alone, tmp_path):
    root, grid = tmp_path / "grid", {n: GRID[n] for n in ("attentive", "seeded")}
    command = script_command(
        "run_grid.py",
        [
            *arguments,
            *("--ckpt_interval_steps", "1", "--folds", "2", "--output_folder", root),
            *("--grid", write_grid(tmp_path / "grid.yaml", grid)),
        ],
    )
    chance = random.Random(5)
    for saved in (1, 2):
        process = subprocess.Popen(
            command, env=script_environment(), stdout=subprocess.DEVNULL
        )
        folders = [root / name / "fold_2/checkpoints" for name in grid]
        before = {path for folder in folders for path in folder.glob("CKPT*")}
        while process.poll() is None:
            now = {path for folder in folders for path in folder.glob("CKPT*")}
            if len(now - before) >= saved:
                break
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (
        subprocess.run(command, env=script_environment(), check=False).returncode == 0
    )
    assert_same(root, alone, grid)


def test_the_heads_of_an_experiment_are_a_grid():
    folder = (Path(__file__).parents[1] / TRAIN_YAML).parents[1] / "experiments"
    grid = read_grid(folder / "heads.yaml")
    assert grid["heads16"] == {"n_heads": 16}
    assert len(grid) == 4


def test_a_head_added_later_leaves_the_others_alone(arguments, alone, tmp_path):
    root = tmp_path / "grid"
    first = {name: GRID[name] for name in ("attentive", "short")}
    assert run(arguments, root, first) == 0
    times = {path: path.stat().st_mtime_ns for path in root.rglob("fold_2/*")}
    assert run(arguments, root, {**first, "smooth": GRID["smooth"]}) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert_same(root, alone, [*first, "smooth"])


def test_a_head_that_fails_does_not_stop_the_others(
    arguments, alone, tmp_path, capsys, monkeypatch
):
    def spoilt(self, frames, counts, classify=EmotionHead.classify):
        logits = classify(self, frames, counts)
        bad = self.training and self.pooling.input_size == 9
        return logits * float("nan") if bad else logits

    monkeypatch.setattr(EmotionHead, "classify", spoilt)
    root = tmp_path / "grid"
    names = ("attentive", "smooth")
    grid = {**{name: GRID[name] for name in names}, "bad": {"projection_size": 9}}
    assert run(arguments, root, grid) == 1
    assert_same(root, alone, names)
    message = capsys.readouterr().err
    assert "error: bad: the train loss is nan" in message
    assert "failed: bad (fold 2)" in message
    assert not (root / "bad/fold_2/metrics.json").exists()


def test_the_features_of_a_batch_are_read_once_for_all(
    arguments, tmp_path, monkeypatch
):
    calls = []

    def counted(clips, heads, project=brain_module.project_clips):
        calls.append(len(heads))
        return project(clips, heads)

    monkeypatch.setattr(brain_module, "project_clips", counted)
    run(arguments, tmp_path / "grid", {"a": {}, "b": {"n_heads": 1}})
    assert set(calls) == {2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "a mapping from names to settings was expected"),
        ("a: {pooling: mean", "not valid YAML"),
        ("a: 3", "a: a mapping of settings was expected"),
        ("a/b: {}", "'a/b' cannot name a head's folder"),
        ("..: {}", "'..' cannot name a head's folder"),
        ("a: {seed: []}", "a: seed is an empty list"),
        ("fold_1: {}", "'fold_1' cannot name a head's folder"),
        ("a: {upstream_source: fbank}", "a: upstream_source is the same for all"),
        ("a: {extract_precision: bf16}", "a: extract_precision is the same for all"),
        ("a: {split_seed: 3}", "a: split_seed is the same for all"),
    ],
)
def test_grid_files_that_are_none(tmp_path, text, message):
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_grid(file)


def test_errors_come_before_any_training(arguments, tmp_path):
    root = tmp_path / "grid"
    with pytest.raises(InputError, match=r"pooling is 'max'"):
        run(arguments, root, {"good": {}, "bad": {"pooling": "max"}})
    with pytest.raises(InputError, match="poolin: no such setting; did you mean pool"):
        run(arguments, root, {"bad": {"poolin": "max"}})
    with pytest.raises(InputError, match="no such grid file"):
        run_grid([*arguments, "--grid", str(tmp_path / "none.yaml")])
    with pytest.raises(InputError, match="--grid is missing"):
        run_grid(arguments)
    assert not list(root.rglob("metrics.json"))
