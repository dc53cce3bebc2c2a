"""Small trainings through the real settings file. Nothing here is a test."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import evaluate as evaluate_program
import torch
import train as train_program

from sercorr.training import EmotionBrain
from sercorr.training.grid import run_grid
from sercorr.training.program import parse_arguments
from sercorr.training.settings import Settings

RECIPE = Path(__file__).parents[1] / "recipes" / "IEMOCAP" / "emotion_corr"
SETTINGS_FILE = RECIPE / "hparams" / "train.yaml"

QUICK = {
    "upstream_source": "fbank",
    "number_of_epochs": 2,
    "updates_per_epoch": 3,
    "batch_size": 4,
    "projection_size": 8,
    "n_heads": 2,
}


@contextlib.contextmanager
def quick_training() -> Iterator[None]:
    """Train on one thread and leave the process as it was.

    Several threads gain nothing on models this small, SpeechBrain changes the logging
    of the whole process, and drawing takes longer than training.
    """
    threads, hook = torch.get_num_threads(), sys.excepthook
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    torch.set_num_threads(1)
    try:
        with mock.patch("sercorr.training.run.plot_fold"):
            yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:], root.level = handlers, level
        sys.excepthook = hook
        torch.set_num_threads(threads)


def command_line(
    release: Path, output: Path, file: Path = SETTINGS_FILE, **changes: Any
) -> list[str]:
    """What ``train.py`` gets; ``changes`` are settings and run options.

    An option whose value is True is a flag.
    """
    given = {"data_folder": release, "output_folder": output, **QUICK, "device": "cpu"}
    given |= changes
    words = []
    for key, value in given.items():
        words += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return [str(file), *words, "--noprogressbar"]


def make_settings(release: Path, output: Path, **changes: Any) -> Settings:
    """Parse the settings of a small run."""
    return parse_arguments(command_line(release, output, **changes))


def train(release: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Run ``train.py`` in this process; return the metrics."""
    return _run(train_program, release, output, changes)


def evaluate(release: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Run ``evaluate.py`` in this process; return the metrics."""
    return _run(evaluate_program, release, output, changes)


def _run(program: Any, release: Path, output: Path, changes: dict) -> dict[str, Any]:
    with quick_training():
        program.main(command_line(release, output, **changes))
    fold = changes.get("fold", 1)
    return json.loads((output / f"fold_{fold}" / "metrics.json").read_text())


def run_script(name: str, arguments: list[str]) -> subprocess.CompletedProcess:
    """Run one of the recipe's programs in a process of its own."""
    return subprocess.run(
        script_command(name, arguments),
        check=False,
        capture_output=True,
        text=True,
        env=script_environment(),
        timeout=300,
    )


def script_command(name: str, arguments: list[str]) -> list[str]:
    """Return the command of one of the recipe's programs."""
    return [sys.executable, str(RECIPE / name), *map(str, arguments)]


def script_environment() -> dict[str, str]:
    """Return the environment of the programs: the package need not be installed."""
    root = str(RECIPE.parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def history(fold_folder: Path) -> list[dict[str, Any]]:
    """Read a run's history without what time decides."""
    records = json.loads((fold_folder / "history.json").read_text())
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def outcome(output: Path, fold: int = 1) -> dict[str, Any]:
    """Return all of a fold that must not depend on how it came about."""
    folder = output / f"fold_{fold}"
    names = ("metrics.json", "predictions.csv", "head.safetensors")
    files = {name: (folder / name).read_bytes() for name in names}
    return {**files, "history": history(folder)}


def settings_file(folder: Path, text: str) -> Path:
    """Write settings that differ from the recipe's in a few keys."""
    file = folder / "mine.yaml"
    file.write_text(f"based_on: {SETTINGS_FILE}\n{textwrap.dedent(text)}")
    return file


def cut_after(patch: Any, updates: int) -> type[BaseException]:
    """Stop after some updates, as a kill would."""

    class Cut(BaseException):
        pass

    original, calls = EmotionBrain.fit_batch, []

    def counted(brain, batch):
        if len(calls) == updates:
            raise Cut
        calls.append(1)
        return original(brain, batch)

    patch.setattr(EmotionBrain, "fit_batch", counted)
    return Cut


def grid_of(folder: Path, text: str, line: list[str]) -> Path:
    """Train the heads of a grid file on fold 1; return their folder."""
    file = folder / "grid.yaml"
    file.write_text(text)
    with quick_training():
        assert run_grid([*line, "--folds", "1", "--grid", str(file)]) == 0
    return folder / "grid"


def heads_equal(first: Path, second: Path) -> bool:
    """Whether two runs have the same head and results of fold 1, to the byte."""
    return all(
        (first / "fold_1" / name).read_bytes()
        == (second / "fold_1" / name).read_bytes()
        for name in ("head.safetensors", "predictions.csv", "metrics.json")
    )


def probabilities(output: Path) -> torch.Tensor:
    """Read the probabilities (clips, 4) of fold 1's test clips."""
    lines = (output / "fold_1/predictions.csv").read_text().splitlines()[1:]
    return torch.tensor([[float(x) for x in line.split(",")[3:7]] for line in lines])
