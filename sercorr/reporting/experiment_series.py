"""What an experiment's figures show: rates by settings, confusion matrices."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.errors import InputError
from sercorr.evaluation.metrics import RATES
from sercorr.evaluation.results import pool_confusion
from sercorr.evaluation.runs import Run, most_folds, same_folds
from sercorr.reporting.paper import used_settings
from sercorr.reporting.remarks import seed_remarks, sum_of

Heads = Mapping[str, Sequence[Run]]
"""From `sercorr.evaluation.runs.read_heads`."""

Value = float | str
"""Of a setting; what is no number is a word."""

Series = Mapping[str, Mapping[Value, Sequence[float]]]
"""Line -> place on the x axis -> one rate, in percent, for each seed."""

Matrix = tuple[str, Sequence[Sequence[int]], Sequence[str]]
"""Title, (K, K) counts, rows are the truth, and the K classes."""

SYMBOLS = {"channel_dropout": "p_d", "label_smoothing": "p_l", "n_heads": "H"}
"""Setting -> the paper's symbol."""


def series_of(
    heads: Heads, x: str, lines: str | None = None, rate: str = "wa"
) -> tuple[Series, list[str]]:
    """Sort the rates of many heads by two of their settings.

    A rate is the mean over a seed's folds. Means over different folds do not compare:
    a seed that lacks one of the `compared_folds` is left out, and a note says so.

    Arguments
    ---------
    heads : mapping
        See `Heads`.
    x, lines : str
        Settings, as `sercorr.reporting.paper.used_settings` finds them. Without
        ``lines``, the upstream and the corpus in the head's folder tell lines apart.
    rate : str
        One of `RATES`; or ``valid_`` and the rate that chose the tested epoch, which is
        then that of the validation clips.

    Returns
    -------
    series : mapping
        See `Series`; lines and places on x by size, words in the order of the heads.
    notes : list of str
        What was left out.

    Raises
    ------
    InputError
        A run lacks one of the settings or the rate, its folds differ in them, or two
        heads have the same two values, so that one of them would hide the other.
    """
    folds = compared_folds(heads)
    notes: list[str] = []
    points: dict[tuple[Value, Value], list[float]] = {}
    owners: dict[tuple[Value, Value], str] = {}
    for head, runs in heads.items():
        if not runs:
            notes.append(f"{head}: not drawn, as no fold is finished")
        for run in runs:
            rates = {fold["fold"]: _rate(run, fold, rate) for fold in run.metrics}
            if missing := [fold for fold in folds if fold not in rates]:
                name = head if run.seed is None else f"{head}, seed {run.seed}"
                listed = ", ".join(map(str, missing))
                notes.append(f"{name}: not drawn, as it lacks fold {listed}")
                continue
            line = _setting(run, lines) if lines else place_of(head)
            at = line, _setting(run, x)
            if owners.setdefault(at, head) != head:
                both = f"{x} {at[1]}" + (f" and {lines} {line}" if lines else "")
                raise InputError(
                    f"{owners[at]} and {head} both have {both}; a figure has room for "
                    "one of them: choose other settings for x and lines, or fewer heads"
                )
            points.setdefault(at, []).append(float(np.mean(list(rates.values()))))
    series: dict[str, dict[Value, list[float]]] = {}
    for line in sort_values(line for line, _ in points):
        name = f"{SYMBOLS.get(lines, lines)} = {line}" if lines else str(line)
        own = {value: rates for (of, value), rates in points.items() if of == line}
        series[name] = {value: own[value] for value in sort_values(own)}
    return series, notes


def confusions_of(heads: Heads, names: Sequence[str]) -> tuple[list[Matrix], list[str]]:
    """Add the confusion matrices of some heads' folds and seeds, see `same_folds`.

    Arguments
    ---------
    heads : mapping
        See `Heads`.
    names : sequence of str
        The heads, by the last parts of their folders.

    Returns
    -------
    matrices : list
        See `Matrix`; in the order of ``names``.
    notes : list of str
        Which heads have no finished fold, and which seeds were left out.

    Raises
    ------
    InputError
        A head's seeds have different classes.
    """
    matrices: list[Matrix] = []
    notes: list[str] = []
    for name in names:
        for head in (head for head in heads if Path(head).name == name):
            runs = same_folds(heads[head])
            notes += [f"{head}: {remark}" for remark in seed_remarks(heads[head])]
            metrics = [fold for run in runs for fold in run.metrics]
            if not metrics:
                notes.append(f"{head}: not drawn, as no fold is finished")
                continue
            labels = metrics[0]["labels"]
            if any(fold["labels"] != labels for fold in metrics):
                raise InputError(f"{head}: seeds have different labels; move one away")
            title = f"{head}\n{sum_of(runs)}"
            matrices.append((title, pool_confusion(metrics), labels))
    return matrices, notes


def place_of(head: str) -> str:
    """Give the upstream and the corpus of a head's folder, as far as it names them."""
    return head.rpartition("/")[0]


def compared_folds(heads: Heads) -> list[int]:
    """Give `most_folds` of the seeds of all heads."""
    return sorted(most_folds([run.finished for some in heads.values() for run in some]))


def _rate(run: Run, fold: Mapping[str, Any], rate: str) -> float:
    if rate in RATES:
        return float(fold[rate])
    tested = run.records.get(fold["fold"], {}).get("tested") or {}
    if rate not in tested:
        raise InputError(
            f"{run.folder}/fold_{fold['fold']}/run.json: tested has no {rate}, but "
            f"{', '.join(tested) or 'nothing'}; choose another rate"
        )
    return float(tested[rate])


def _setting(run: Run, name: str) -> Value:
    """Read a setting, which must be the same in all folds."""
    found = []
    for fold in (fold["fold"] for fold in run.metrics):
        used = used_settings(run.records.get(fold, {}))
        if name not in used:
            raise InputError(
                f"{run.folder}/fold_{fold}/run.json: no setting {name!r} is in it; a "
                "figure needs one that all runs have"
            )
        value = used[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        found.append(value if number else str(value))
    if any(value != found[0] for value in found):
        raise InputError(
            f"{run.folder}: {name} is not the same in all folds ({found}); these are "
            "different experiments; move one away"
        )
    return found[0]


def sort_values(values: Iterable[Value]) -> list[Value]:
    """Sort numbers by size, then words as they come; each value once.

    Example
    -------
    >>> sort_values(["mean", 4, "corr", 1, "mean"])
    [1, 4, 'mean', 'corr']
    """
    return sorted(
        dict.fromkeys(values),
        key=lambda value: (True, 0.0) if isinstance(value, str) else (False, value),
    )
