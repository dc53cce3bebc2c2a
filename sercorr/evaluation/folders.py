"""Finding and reading finished folds.

    [<upstream>/][<corpus>/]<head>/[seed_S/]fold_K/{metrics,run}.json

``metrics.json`` marks a finished fold; ``run.json`` says what was run.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.evaluation.metrics import complete_metrics
from sercorr.files import read_json

_DEPTH = 3  # upstream, corpus, head


@dataclass(frozen=True)
class Folds:
    """The finished folds of one cross-validation.

    Arguments
    ---------
    metrics : list of dict
        Content of each ``metrics.json``, sorted by fold, with every rate.
    records : dict
        Fold -> content of its ``run.json``, for the folds that have one.
    n_folds : int
        Number of folds of the whole cross-validation.
    """

    metrics: list[dict[str, Any]]
    records: dict[int, dict[str, Any]]
    n_folds: int

    @property
    def labels(self) -> list[str]:
        """The classes, in order."""
        return self.metrics[0]["labels"]

    @property
    def missing(self) -> list[int]:
        """Folds that are not finished."""
        finished = {fold["fold"] for fold in self.metrics}
        return [fold for fold in range(1, self.n_folds + 1) if fold not in finished]

    @property
    def record(self) -> dict[str, Any]:
        """Content of the first ``run.json``; empty if there is none."""
        return next(iter(self.records.values()), {})

    @property
    def differing(self) -> list[str]:
        """Settings, other than ``fold``, in which the folds are not the same."""
        trees = [settings_of(record) for record in self.records.values()]
        keys = sorted({key for tree in trees for key in tree} - {"fold"})
        return [k for k in keys if any(t.get(k) != trees[0].get(k) for t in trees)]


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings tree of a ``run.json``; empty if it has none."""
    return record.get("identity", {}).get("settings", {})


def numbered(folder: Path, kind: str) -> dict[int, Path]:
    """Find the folders ``<kind>_1``, ``<kind>_2``, ..., sorted by number."""
    found = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := re.fullmatch(rf"{kind}_(0|[1-9][0-9]*)", path.name))
        and path.is_dir()
    }
    return dict(sorted(found.items()))


def read_fold(folder: Path, fold: int | None = None) -> dict[str, Any]:
    """Read a ``metrics.json``; rates that it lacks are computed from its confusion.

    Arguments
    ---------
    folder : path
        The fold's folder.
    fold : int or None
        The number that it must have.

    Raises
    ------
    InputError
        The file is missing, broken or of another fold.
    """
    path = folder / "metrics.json"
    metrics = read_json(path)
    keys = ("fold", "n", "labels", "confusion")
    missing = [k for k in keys if not isinstance(metrics, dict) or k not in metrics]
    if missing:
        raise InputError(
            f"{path}: lacks {', '.join(missing)}; remove it and run the fold again"
        )
    if fold is not None and metrics["fold"] != fold:
        raise InputError(
            f"{path}: is of fold {metrics['fold']}; remove it and run fold {fold} again"
        )
    return complete_metrics(metrics)


def read_record(folder: Path) -> dict[str, Any]:
    """Read a fold's ``run.json``; empty if there is none."""
    path = folder / "run.json"
    record = read_json(path) if path.exists() else {}
    if not isinstance(record, dict):
        raise InputError(f"{path}: not the record of a run; remove it")
    return record


def read_folds(folder: str | os.PathLike, n_folds: int | None = None) -> Folds:
    """Read the finished folds in ``fold_1``, ``fold_2``, ...

    Arguments
    ---------
    folder : path
        Where they are.
    n_folds : int or None
        How many there should be. None: as their ``run.json`` says or, without any, as
        many as the highest number.

    Raises
    ------
    InputError
        No fold is finished, one's number is above ``n_folds``, a file is broken, or
        the folds are of different experiments: their labels or numbers of folds
        differ.
    """
    folder = Path(folder)
    folders = {
        fold: path
        for fold, path in numbered(folder, "fold").items()
        if fold > 0 and (path / "metrics.json").exists()
    }
    if not folders:
        raise InputError(
            f"{folder}: no finished fold (no fold_K/metrics.json); run the folds first"
        )
    metrics = [read_fold(path, fold) for fold, path in folders.items()]
    records = {fold: read_record(path) for fold, path in folders.items()}
    records = {fold: record for fold, record in records.items() if record}
    for name, values in (
        ("labels", {fold["fold"]: fold["labels"] for fold in metrics}),
        ("n_folds", {k: r["n_folds"] for k, r in records.items() if "n_folds" in r}),
    ):
        for fold, value in values.items():
            first = next(iter(values))
            if value != values[first]:
                raise InputError(
                    f"{folder}: {name} is {value} in fold {fold} and {values[first]} "
                    f"in fold {first}: these are different experiments; move one away"
                )
        if name == "n_folds" and n_folds is None:
            n_folds = next(iter(values.values()), max(folders))
    assert n_folds is not None
    if max(folders) > n_folds:
        raise InputError(
            f"{folder}: there is a fold {max(folders)}, but results are made of folds "
            f"1 to {n_folds}; move it away"
        )
    return Folds(metrics, records, n_folds)


def find_heads(root: str | os.PathLike) -> dict[str, Path]:
    """Find all heads below a folder: those that hold ``fold_K`` or ``seed_S``.

    Returns
    -------
    dict
        The head's folder relative to ``root`` -> its path; sorted so that ``att4``
        stands before ``att16``. Heads without a finished fold are there, too.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    heads, level = {}, [root]
    for _ in range(_DEPTH + 1):
        folders, level = level, []
        for folder in folders:
            if numbered(folder, "seed") or any(
                (fold / name).exists()
                for fold in numbered(folder, "fold").values()
                for name in ("metrics.json", "run.json")  # those of manifests have none
            ):
                heads[folder.relative_to(root).as_posix()] = folder
            else:
                level += [path for path in folder.iterdir() if path.is_dir()]
    return dict(sorted(heads.items(), key=lambda item: _natural(item[0])))


def read_seeds(folder: str | os.PathLike) -> dict[int | None, Folds]:
    """Read the finished folds of one head.

    Returns
    -------
    dict
        Seed -> its folds, for seeds that have any; without ``seed_S`` folders, the
        one key is None. Empty if nothing is finished.

    Raises
    ------
    InputError
        There are folds beside seeds, or what `read_folds` raises.
    """
    folder = Path(folder)
    seeds = numbered(folder, "seed")
    loose = any(folder.glob("fold_*/metrics.json"))
    if not seeds:
        return {None: read_folds(folder)} if loose else {}
    if loose:
        raise InputError(
            f"{folder}: has folds beside seeds; move either the folders fold_K or "
            "the folders seed_S away"
        )
    return {
        seed: read_folds(path)
        for seed, path in seeds.items()
        if any(path.glob("fold_*/metrics.json"))
    }


def _natural(name: str) -> list[str | int]:
    parts = re.split(r"([0-9]+)", name)  # every second one is a number
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
