"""Files of a cross-validation: each fold's scores, then the whole.

    fold_K/predictions.csv   id, truth, prediction, one probability a label
    fold_K/metrics.json      the fold's scores; its presence marks a finished fold
    results.json             all folds, their mean and standard deviation
    results.md, plots/       the same for people

The standard deviation over folds is the population's (squared deviations divided by
the number of folds, NumPy's default; 0 for one fold): the sessions are all there are,
and the paper does not say which it took. The sample's would be 1.118 times as large
with five folds.
"""

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.errors import InputError
from sercorr.evaluation.history import read_history
from sercorr.evaluation.metrics import RATES, classification_metrics
from sercorr.files import atomic_path, read_json, write_json, write_text
from sercorr.reporting.plots import plot_confusion, plot_history, plot_layer_weights
from sercorr.reporting.tables import format_markdown, format_table, pool_confusion

__all__ = ["format_table", "read_folds", "summarise", "write_fold", "write_results"]

_KEYS = ("fold", "n", *RATES, "labels", "confusion")
_SUM_TOLERANCE = 1e-3


def write_fold(
    folder: str | os.PathLike,
    fold: int,
    ids: Sequence[str],
    truth: Sequence[str],
    probabilities: np.ndarray,
    labels: Sequence[str],
) -> dict[str, Any]:
    """Score one fold; write ``predictions.csv`` and ``metrics.json``.

    Both files are complete on the disk before the first gets its name;
    ``metrics.json`` gets it last.

    Arguments
    ---------
    folder : path
        The fold's folder; made if missing.
    fold : int
        Its number.
    ids, truth : sequence of str
        One id and one true label an utterance.
    probabilities : numpy.ndarray
        (n, K). The prediction is the largest before rounding, the first among
        equals; the file has six decimals.
    labels : sequence of str
        The K labels, in the order of the columns.

    Returns
    -------
    dict
        ``fold`` and what `classification_metrics` gives.

    Raises
    ------
    ValueError
        Shapes disagree, an id occurs twice, a row is no distribution, or what
        `classification_metrics` raises. Nothing is written then.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> p = np.array([[0.25, 0.75], [0.5, 0.5]])
    >>> write_fold(folder, 1, ["b", "a"], ["sad", "ang"], p, ["ang", "sad"])["wa"]
    100.0
    >>> print((folder / "predictions.csv").read_text(), end="")
    id,truth,prediction,ang,sad
    a,ang,ang,0.500000,0.500000
    b,sad,sad,0.250000,0.750000
    """
    ids, truth, labels = list(ids), list(truth), list(labels)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    _check_predictions(ids, probabilities, labels)
    prediction = [labels[index] for index in probabilities.argmax(axis=1)]
    metrics = {
        "fold": int(fold),
        **classification_metrics(truth, prediction, labels),
    }
    rows = sorted(
        (id_, true, predicted, *(f"{value:.6f}" for value in row))
        for id_, true, predicted, row in zip(
            ids, truth, prediction, probabilities, strict=True
        )
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "truth", "prediction", *labels])
    writer.writerows(rows)
    with atomic_path(Path(folder) / "metrics.json") as temporary:
        write_json(temporary, metrics)
        write_text(Path(folder) / "predictions.csv", text.getvalue())
    return metrics


def read_folds(output_folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Read every finished fold's ``metrics.json``, sorted by fold.

    Raises
    ------
    InputError
        A file is broken or belongs to another fold.
    """
    folds = []
    for path in Path(output_folder).glob("fold_*/metrics.json"):
        match = re.fullmatch(r"fold_([1-9][0-9]*)", path.parent.name)
        if match is None:
            continue
        metrics = read_json(path)
        missing = [
            k for k in _KEYS if not isinstance(metrics, dict) or k not in metrics
        ]
        if missing:
            raise InputError(
                f"{path}: lacks {', '.join(missing)}; remove it and run the fold again"
            )
        if metrics["fold"] != int(match[1]):
            raise InputError(
                f"{path}: is of fold {metrics['fold']}; remove it and run fold "
                f"{match[1]} again"
            )
        folds.append(metrics)
    return sorted(folds, key=lambda metrics: metrics["fold"])


def summarise(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join folds with their mean and (population) standard deviation.

    Arguments
    ---------
    folds : sequence of dict
        What `read_folds` gives.

    Returns
    -------
    dict
        ``folds`` as given; ``mean`` and ``std`` over folds of each rate.

    Raises
    ------
    ValueError
        There are no folds.
    InputError
        The folds differ in their labels.

    Example
    -------
    >>> fold = {"fold": 1, "labels": ["a"], "ua": 50.0, "macro_f1": 40.0}
    >>> summary = summarise([{**fold, "wa": 60.0}, {**fold, "wa": 70.0}])
    >>> summary["mean"]["wa"], summary["std"]["wa"]
    (65.0, 5.0)
    """
    if not folds:
        raise ValueError("there is nothing to summarise (got 0 folds)")
    for fold in folds:
        if fold["labels"] != folds[0]["labels"]:
            raise InputError(
                f"fold {fold['fold']} has the labels {fold['labels']}, fold "
                f"{folds[0]['fold']} has {folds[0]['labels']}: these are different "
                "experiments; remove one or use another output folder"
            )
    rates = {rate: [fold[rate] for fold in folds] for rate in RATES}
    return {
        "folds": list(folds),
        "mean": {rate: float(np.mean(values)) for rate, values in rates.items()},
        "std": {rate: float(np.std(values)) for rate, values in rates.items()},
    }


def write_results(
    output_folder: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
    n_folds: int = 5,
) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and the plots of the finished folds.

    The learned layer weights (``fold_K/layer_weights.json``, ``{"weights": [...]}``)
    and training curves (``fold_K/history.json``) are drawn where they are there.

    Arguments
    ---------
    output_folder : path
        The folder with ``fold_1``, ``fold_2``, ...
    settings : mapping or None
        The run's settings, named as in ``hparams/train.yaml``; listed in
        ``results.md``, and the key to the paper's number.
    n_folds : int
        Number of folds of the whole cross-validation; missing ones are named.

    Returns
    -------
    dict
        What `summarise` gives, which is what ``results.json`` holds.

    Raises
    ------
    InputError
        No fold is finished, a fold's number is above ``n_folds``, or a file is
        broken. Nothing is written then.
    """
    output_folder = Path(output_folder)
    folds = read_folds(output_folder)
    if not folds:
        raise InputError(
            f"{output_folder}: no finished fold (no fold_K/metrics.json); "
            "run the folds first"
        )
    if folds[-1]["fold"] > n_folds:
        raise InputError(
            f"{output_folder}: there is a fold {folds[-1]['fold']}, but results are "
            f"made of folds 1 to {n_folds}; move it away"
        )
    results = summarise(folds)
    weights, histories = {}, {}
    for metrics in folds:
        name, folder = f"fold {metrics['fold']}", f"fold_{metrics['fold']}"
        weights[name] = _read_layer_weights(output_folder / folder)
        histories[name] = read_history(output_folder / folder / "history.json")
    weights = {name: values for name, values in weights.items() if values}
    histories = {name: records for name, records in histories.items() if records}
    if len({len(values) for values in weights.values()}) > 1:
        sizes = ", ".join(f"{name}: {len(v)}" for name, v in weights.items())
        raise InputError(
            f"{output_folder}: the folds' layer_weights.json differ in their number "
            f"of layers ({sizes}); the folds are of different experiments"
        )
    plots = {"Confusion matrix": "confusion.png"}
    if weights:
        plots["Layer weights"] = "layer_weights.png"
    if histories:
        plots["Training curves"] = "training_curves.png"
    write_json(output_folder / "results.json", results)
    links = {title: f"plots/{name}" for title, name in plots.items()}
    text = format_markdown(results, settings, n_folds, links)
    write_text(output_folder / "results.md", text)
    numbers = ", ".join(str(metrics["fold"]) for metrics in folds)
    plot_confusion(
        pool_confusion(folds),
        folds[0]["labels"],
        output_folder / "plots" / "confusion.png",
        f"Confusion matrix, fold{'s' if len(folds) > 1 else ''} {numbers}"
        f"{' pooled' if len(folds) > 1 else ''}",
    )
    if weights:
        plot_layer_weights(weights, output_folder / "plots" / "layer_weights.png")
    if histories:
        plot_history(histories, output_folder / "plots" / "training_curves.png")
    return results


def _check_predictions(
    ids: list[str], probabilities: np.ndarray, labels: list[str]
) -> None:
    if probabilities.shape != (len(ids), len(labels)):
        raise ValueError(
            f"probabilities must have shape ({len(ids)}, {len(labels)}), one row an "
            f"id and one column a label (got {probabilities.shape})"
        )
    twice = sorted(id_ for id_, times in Counter(ids).items() if times > 1)
    if twice:
        raise ValueError(f"ids must differ from one another (got {twice} twice)")
    off = ~(
        (probabilities >= 0).all(axis=1)
        & (np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    )
    if off.any():
        index = int(off.argmax())
        raise ValueError(
            "each row of probabilities must be non-negative with the sum 1 "
            f"(got {probabilities[index].tolist()} for {ids[index]})"
        )


def _read_layer_weights(fold_folder: Path) -> list[float]:
    path = fold_folder / "layer_weights.json"
    if not path.exists():
        return []
    content = read_json(path)
    weights = content.get("weights") if isinstance(content, dict) else None
    if not (
        isinstance(weights, list)
        and weights
        and all(isinstance(w, int | float) and math.isfinite(w) for w in weights)
    ):
        raise InputError(
            f'{path}: must be {{"weights": [...]}} with one finite number a layer '
            f"(found {str(content)[:60]}); remove it"
        )
    return weights
