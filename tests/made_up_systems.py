"""Made-up heads that were tested on the same clips. Nothing here is a test."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from made_up_results import LABELS, make_run_json

FOLDS = (1, 2, 3, 4, 5)


def speakers_of(fold: int) -> list[str]:
    """The two speakers that a fold tests."""
    return [f"Ses0{fold}F", f"Ses0{fold}M"]


def make_system(
    folder: Path,
    skill: float,
    *,
    seed: int = 1,
    folds: Sequence[int] = FOLDS,
    n_folds: int = 5,
    size: int = 24,
    train: int | None = 6 * 24,
    who: Callable[[int], Sequence[str]] = speakers_of,
    record: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Write folds in which a share ``skill`` of the clips is right.

    The clips and their labels are the same for each call with the same ``size``; which
    are right depends on ``skill`` and ``seed``. ``train``: clips trained on (None: not
    recorded). ``record``: more for run.json.
    """
    from sercorr.evaluation.results import write_fold

    for fold in folds:
        clips = {
            f"{speaker}_{n:03d}": {"speaker": speaker, "file": f"{speaker}_{n}.wav"}
            for speaker in who(fold)
            for n in range(size)
        }
        ids = list(clips)
        known, drawn = np.random.default_rng(fold), np.random.default_rng([seed, fold])
        truth = known.integers(0, 4, len(ids))
        right = drawn.random(len(ids)) < skill
        said = np.where(right, truth, (truth + drawn.integers(1, 4, len(ids))) % 4)
        path = folder / f"fold_{fold}"
        write_fold(
            path, fold, ids, [LABELS[k] for k in truth], np.eye(4)[said], LABELS, clips
        )
        content = make_run_json(fold, n_folds, seed=seed, **settings)
        content |= {"manifests": "same", **(record or {})}
        if train is not None:
            content["clips"] = {"train": train, "valid": 48, "test": len(ids)}
        (path / "run.json").write_text(json.dumps(content))


SKILLS = {"att": 0.75, "corr": 0.53, "mean": 0.5}


def make_grid(root: Path) -> Path:
    """Three heads, each with three seeds of five folds."""
    for head, skill in SKILLS.items():
        for seed in (1, 2, 3):
            make_system(root / head / f"seed_{seed}", skill, seed=seed, pooling=head)
    return root


def make_two(
    root: Path,
    first: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    skills: tuple[float, float] = (0.7, 0.5),
) -> list[Path]:
    """Write systems a and b with one seed, and what is their own."""
    for name, skill, own in zip("ab", skills, (first, second), strict=True):
        make_system(root / name, skill, **(own or {}))
    return [root / "a", root / "b"]


def compare(*folders: Path, **options: Any) -> tuple[str, dict[str, Any]]:
    """Text and data of a comparison."""
    from sercorr.reporting.comparison import compare_parts
    from sercorr.reporting.comparison_command import read_folders
    from sercorr.reporting.layout import render

    parts, data = compare_parts(read_folders(folders), **options)
    return render(parts, "text"), data
