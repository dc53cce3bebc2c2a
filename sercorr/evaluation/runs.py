"""Reading the finished folds of one run or of many.

    [<upstream>/][<corpus>/]<head>/[seed_S/]fold_K/{metrics,run}.json

``metrics.json`` marks a finished fold; ``run.json`` says what was run, and
``experiment.json`` beside them of which experiment they are.
"""

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.evaluation.metrics import RATES, complete_metrics
from sercorr.files import read_json

EXPERIMENT = "experiment.json"

AXES = ("upstream", "corpus", "head", "seed", "fold")
"""What an experiment varies, in the order of the folders."""

_FOLD = re.compile(r"fold_[1-9][0-9]*")
_MOST_PLACES = 3  # are named in a message


@dataclass(frozen=True)
class Run:
    """The finished folds of one cross-validation."""

    folder: Path  # has fold_1, fold_2, ...
    seed: int | None  # S, if the folder is the seed_S of a head
    metrics: list[dict[str, Any]]  # each metrics.json, sorted by fold, with every rate
    records: dict[int, dict[str, Any]]  # fold -> its run.json, where there is one
    n_folds: int  # of the whole cross-validation

    @property
    def record(self) -> dict[str, Any]:
        """Content of the first ``run.json``; empty if there is none."""
        return next(iter(self.records.values()), {})

    @property
    def select_by(self) -> str:
        """The rate that chose the tested epochs, see `agreed_rate`."""
        return agreed_rate(self.records.values())

    @property
    def fold_folders(self) -> list[Path]:
        """The folder of each finished fold, in the order of ``metrics``."""
        return [self.folder / f"fold_{fold['fold']}" for fold in self.metrics]

    @property
    def finished(self) -> set[int]:
        """Numbers of the finished folds."""
        return {fold["fold"] for fold in self.metrics}

    @property
    def missing(self) -> list[int]:
        """Folds that are not finished."""
        return [f for f in range(1, self.n_folds + 1) if f not in self.finished]

    @property
    def differing(self) -> list[str]:
        """Settings, other than ``fold``, in which the folds are not the same.

        ``manifests`` stands for the data: the corpus, or what its files say.
        """
        trees = [
            {**settings_of(record), "manifests": record.get("manifests")}
            for record in self.records.values()
        ]
        keys = sorted({key for tree in trees for key in tree} - {"fold"})
        return [k for k in keys if any(t.get(k) != trees[0].get(k) for t in trees)]


def most_folds(sets: Sequence[set[int]]) -> set[int]:
    """Choose the largest set; of equal ones, the one that most others contain.

    Folds come before seeds: speakers are what a claim is about. Of no set, it is empty.

    Example
    -------
    >>> most_folds([{1}, {1, 2}, {2, 3}, {2, 3}])
    {2, 3}
    """
    return max(
        sets,
        key=lambda one: (len(one), sum(one <= other for other in sets)),
        default=set(),
    )


def same_folds(runs: Sequence[Run]) -> list[Run]:
    """Give the seeds of a head that have `most_folds`: those that may be averaged.

    Folds are not equally easy: the mean of a seed that lacks one is of other clips,
    and its distance to the other seeds' means says little of seeds.
    """
    folds = most_folds([run.finished for run in runs])
    return [run for run in runs if run.finished == folds]


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings tree of a ``run.json``; empty if it has none."""
    return record.get("identity", {}).get("settings", {})


def shown_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings that a page shows: with what is no part of the identity."""
    apart = ("upstream_source", "number_of_epochs")
    own = {name: record[name] for name in apart if name in record}
    return own | settings_of(record)


def heads_called(names: Iterable[str], wanted: str) -> list[str]:
    """Find heads by their name, or else by its last parts.

    Example
    -------
    >>> heads_called(["a/mean", "b/mean", "corr"], "mean")
    ['a/mean', 'b/mean']
    >>> heads_called(["mean", "b/mean"], "mean")
    ['mean']
    """
    names = list(names)
    if wanted in names:
        return [wanted]
    return [name for name in names if name.endswith(f"/{wanted}")]


def agreed_rate(records: Iterable[Mapping[str, Any]]) -> str:
    """Give the rate by which all of some runs chose the tested epoch.

    Where they disagree, or it is none of `RATES`, it is ``wa``.

    Example
    -------
    >>> agreed_rate([{"tested": {"select_by": "ua"}}, {"tested": {"select_by": "ua"}}])
    'ua'
    >>> agreed_rate([{"tested": {"select_by": "ua"}}, {}])
    'wa'
    """
    rates = {(record.get("tested") or {}).get("select_by", "wa") for record in records}
    return rates.pop() if len(rates) == 1 and rates <= RATES.keys() else "wa"


def read_fold(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a fold's ``metrics.json`` and ``run.json`` (empty if there is none)."""
    path = folder / "metrics.json"
    metrics = read_json(path)
    keys = ("fold", "n", "labels", "confusion")
    lacks = [k for k in keys if not isinstance(metrics, dict) or k not in metrics]
    if lacks:
        raise InputError(
            f"{path}: lacks {', '.join(lacks)}; remove it and run the fold again"
        )
    path = folder / "run.json"
    record = read_json(path) if path.exists() else {}
    if not isinstance(record, dict):
        raise InputError(f"{path}: not the record of a run; remove it")
    return complete_metrics(metrics), record


def read_experiment_record(root: str | os.PathLike) -> dict[str, Any]:
    """Read ``experiment.json`` of a folder; empty where there is none.

    Returns
    -------
    dict
        ``experiment``: its name. ``file``: where it was read. ``axes``: each of `AXES`
        -> all values that were asked for. ``asked``: the axes of each command.
        ``figures``: what to draw. ``commands``.
    """
    path = Path(root) / EXPERIMENT
    if not path.exists():
        return {}
    record = read_json(path)
    try:
        every = [record["axes"], *record.get("asked", [])]
        known = all(isinstance(axes[axis], list) for axes in every for axis in AXES)
        kinds = {"experiment": str, "file": str, "figures": list, "commands": list}
        known = known and all(isinstance(record[k], kinds[k]) for k in kinds)
    except (KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"{path}: not the record of an experiment; remove it")
    # records of earlier versions say no more than the axes
    return {**record, "asked": record.get("asked") or [record["axes"]]}


def asked_trainings(record: Mapping[str, Any]) -> dict[str, dict[int, set[int]]]:
    """Give what the commands of an experiment have asked for, all together.

    ``record`` is from `read_experiment_record`. Returns each head's folder below the
    experiment's -> seed -> folds; empty for an empty record.

    Example
    -------
    >>> axes = {"upstream": ["fbank"], "corpus": [], "head": ["a"], "fold": [1, 2]}
    >>> asked = [axes | {"seed": [1]}, axes | {"seed": [5], "fold": [2]}]
    >>> asked_trainings({"axes": axes | {"seed": [1, 5]}, "asked": asked})
    {'a': {1: {1, 2}, 5: {2}}}
    """
    found: dict[str, dict[int, set[int]]] = {}
    axes = record.get("axes", {})
    several = {axis for axis in AXES[:2] if len(axes.get(axis, ())) > 1}
    for own in record.get("asked", []):
        kept = [own[axis] if axis in several else [""] for axis in AXES[:2]]
        for upstream, corpus, head in itertools.product(*kept, own["head"]):
            seeds = found.setdefault(
                "/".join(filter(None, (upstream, corpus, head))), {}
            )
            for seed in own["seed"]:
                seeds.setdefault(seed, set()).update(own["fold"])
    return found


def read_heads(root: str | os.PathLike) -> dict[str, list[Run]]:
    """Read all finished folds below a folder.

    Returns
    -------
    dict
        Each head's folder relative to ``root`` -> its runs, one per seed, in the order
        of the experiment, or else ``att4`` before ``att16``. A head without a finished
        fold has no runs. If the folds or seeds lie in ``root`` itself, it is the only
        head, ``.``.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder{_where_now(root)}")
    whole = Path(os.path.abspath(root))
    if _FOLD.fullmatch(whole.name) and (root / "metrics.json").exists():
        above = root.parent if root.name else whole.parent
        raise InputError(
            f"{root}: this is one fold alone; give the folder above it: {above}"
        )
    found = {path.parent for path in _fold_folders(root)}
    heads: dict[str, list[Run]] = {}
    axes = read_experiment_record(root).get("axes", {})
    order = [str(value) for axis in AXES[:3] for value in axes.get(axis, [])]

    def place(folder: Path) -> tuple[list[int], str]:
        parts = folder.relative_to(root).parts
        return [order.index(p) for p in parts if p in order], _natural(folder)

    for folder in sorted(found, key=place):
        match = re.fullmatch(r"seed_([0-9]+)", folder.name) if folder != root else None
        head = folder.parent if match else folder
        runs = heads.setdefault(head.relative_to(root).as_posix(), [])
        runs += _read_run(folder, int(match[1]) if match else None)
        if len(runs) > 1 and runs[0].seed is None:
            raise InputError(
                f"{head}: has folds beside seeds; move either the folders fold_K or "
                "the folders seed_S away"
            )
    if not any(heads.values()):
        raise InputError(
            f"{root}: no finished fold (no fold_K/metrics.json)"
            f"{_where_now(root) or '; run the folds first'}"
        )
    return {".": heads["."]} if "." in heads else heads


def _fold_folders(root: Path) -> set[Path]:
    """Find the folders of all folds below, finished or not."""
    return {
        path.parent
        for depth in range(5)  # upstream, corpus, head, seed
        for name in ("metrics", "run")
        for path in root.glob(f"{'*/' * depth}fold_[1-9]*/{name}.json")
    }


def _where_now(folder: Path) -> str:
    """Say where an experiment has the runs that a folder had, or might have."""
    tops = (top for top in folder.parents[: len(AXES)] if (top / EXPERIMENT).exists())
    top = next(tops, None)
    if top is None:
        return ""
    wanted = folder.relative_to(top).parts
    places = {
        place
        for fold in _fold_folders(top)
        for place in (fold, *fold.parents)
        if place.is_relative_to(top) and place.name == wanted[-1]
    }
    found = []
    for place in sorted(places - {folder}, key=_natural):
        parts = iter(place.relative_to(top).parts)
        if all(part in parts for part in wanted):  # in this order
            found.append(str(place))
    shown = ", ".join(found[:_MOST_PLACES])
    more = f" and {len(found) - _MOST_PLACES} more" if found[_MOST_PLACES:] else ""
    return f"; its runs are in {shown}{more}" if found else ""


def _read_run(folder: Path, seed: int | None) -> list[Run]:
    """Read one run, if any of its folds is finished.

    There are as many folds as ``run.json`` says or, without any, as the highest
    number says.
    """
    folds = {
        int(path.parent.name[5:]): path.parent
        for path in folder.glob("fold_*/metrics.json")
        if _FOLD.fullmatch(path.parent.name)
    }
    if not folds:
        return []
    both = {fold: read_fold(path) for fold, path in sorted(folds.items())}
    records = {fold: record for fold, (_, record) in both.items() if record}
    labels = both[min(both)][0]["labels"]
    sizes = [record["n_folds"] for record in records.values() if "n_folds" in record]
    n_folds = sizes[0] if sizes else max(both)
    for fold, (metrics, record) in both.items():
        if metrics["fold"] != fold:
            raise InputError(
                f"{folds[fold]}/metrics.json: is of fold {metrics['fold']}; remove it "
                f"and run fold {fold} again"
            )
        for name, value, earlier in (
            ("labels", metrics["labels"], labels),
            ("n_folds", record.get("n_folds", n_folds), n_folds),
        ):
            if value != earlier:
                raise InputError(
                    f"{folder}: {name} is {value} in fold {fold} and {earlier} in an "
                    "earlier one: these are different experiments; move one away"
                )
    if max(both) > n_folds:
        raise InputError(
            f"{folder}: there is a fold {max(both)}, but results are made of folds "
            f"1 to {n_folds}; move it away"
        )
    return [Run(folder, seed, [m for m, _ in both.values()], records, n_folds)]


def _natural(folder: Path) -> str:
    return re.sub(r"[0-9]+", lambda number: number[0].zfill(9), folder.as_posix())
