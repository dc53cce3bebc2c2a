"""What a tested fold leaves on disk, and the figures over folds and seeds.

    fold_K/predictions.csv   one row per utterance
    fold_K/metrics.json      the fold's scores; its presence marks a finished fold

Deviations over folds are the population's (squared deviations divided by their
number, NumPy's default): all sessions are there. Those over seeds are the sample's
(divided by the number less one). Of one fold or one seed there is none: None.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.evaluation.metrics import RATES, classification_metrics
from sercorr.files import atomic_path, write_json, write_text

CLIP_COLUMNS = ("speaker", "file")
"""Last columns of ``predictions.csv``: keys of each clip in the test manifest."""

_SUM_TOLERANCE = 1e-3


def write_fold(
    folder: str | os.PathLike,
    fold: int,
    ids: Sequence[str],
    truth: Sequence[str],
    probabilities: np.ndarray,
    labels: Sequence[str],
    clips: Mapping[str, Mapping[str, Any]],
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
        One id and one true label per utterance.
    probabilities : numpy.ndarray
        (n, K). The prediction is the largest before rounding, the first among
        equals; the file has six decimals.
    labels : sequence of str
        The K labels, in the order of the columns.
    clips : mapping
        Id -> at least `CLIP_COLUMNS`, for instance the test manifest.

    Returns
    -------
    dict
        ``fold`` and what `classification_metrics` gives.

    Raises
    ------
    ValueError
        Shapes disagree, an id occurs twice or is not in ``clips``, a row is no
        distribution, or what `classification_metrics` raises. Nothing is written
        then.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> p = np.array([[0.25, 0.75], [0.5, 0.5]])
    >>> clips = {id_: {"speaker": "F1", "file": f"{id_}.wav"} for id_ in "ab"}
    >>> write_fold(folder, 1, "ba", ["sad", "ang"], p, ["ang", "sad"], clips)["wa"]
    100.0
    >>> print((folder / "predictions.csv").read_text(), end="")
    id,truth,prediction,ang,sad,speaker,file
    a,ang,ang,0.500000,0.500000,F1,a.wav
    b,sad,sad,0.250000,0.750000,F1,b.wav
    """
    ids, truth, labels = list(ids), list(truth), list(labels)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    _check_predictions(ids, probabilities, labels, clips)
    prediction = [labels[index] for index in probabilities.argmax(axis=1)]
    metrics = {"fold": int(fold), **classification_metrics(truth, prediction, labels)}
    rows = zip(ids, truth, prediction, probabilities, strict=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "truth", "prediction", *labels, *CLIP_COLUMNS])
    for id_, true, predicted, row in sorted(rows, key=lambda row: row[0]):
        columns = [clips[id_][column] for column in CLIP_COLUMNS]
        writer.writerow([id_, true, predicted, *(f"{p:.6f}" for p in row), *columns])
    with atomic_path(Path(folder) / "metrics.json") as temporary:
        write_json(temporary, metrics)
        write_text(Path(folder) / "predictions.csv", text.getvalue())
    return metrics


def summarise(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join folds with their mean and (population) standard deviation.

    Returns
    -------
    dict
        ``folds`` as given; ``mean`` and ``std`` over folds of each rate. ``std`` is
        None for one fold.

    Example
    -------
    >>> fold = {"fold": 1, "ua": 50.0, "macro_f1": 40.0}
    >>> summary = summarise([{**fold, "wa": 60.0}, {**fold, "wa": 70.0}])
    >>> summary["mean"]["wa"], summary["std"]["wa"]
    (65.0, 5.0)
    """
    if not folds:
        raise ValueError("there is nothing to summarise (got 0 folds)")
    return {
        "folds": list(folds),
        "mean": _over(np.mean, folds),
        "std": _over(np.std, folds) if len(folds) > 1 else None,
    }


def summarise_seeds(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join what `summarise` gives for each seed.

    Returns
    -------
    dict
        ``mean``: over seeds, of the means over folds. ``std``: the deviation over
        folds, averaged over the seeds that have one, or None. ``std_over_seeds``: the
        (sample) deviation of the seeds' means; None for one seed.

    Example
    -------
    >>> flat = {"ua": 50.0, "macro_f1": 40.0}
    >>> a = {"mean": {**flat, "wa": 60.0}, "std": {**flat, "wa": 1.0}}
    >>> b = {"mean": {**flat, "wa": 62.0}, "std": {**flat, "wa": 2.0}}
    >>> joined = summarise_seeds([a, b])
    >>> joined["mean"]["wa"], joined["std"]["wa"]
    (61.0, 1.5)
    >>> round(joined["std_over_seeds"]["wa"], 4)
    1.4142
    """
    means = [summary["mean"] for summary in summaries]
    stds = [summary["std"] for summary in summaries if summary["std"]]
    return {
        "mean": _over(np.mean, means),
        "std": _over(np.mean, stds) if stds else None,
        "std_over_seeds": _over(_sample_std, means) if len(means) > 1 else None,
    }


def pool_confusion(folds: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Add the folds' confusion matrices.

    Example
    -------
    >>> folds = [{"confusion": [[1, 2], [3, 4]]}, {"confusion": [[1, 0], [0, 1]]}]
    >>> pool_confusion(folds)
    [[2, 2], [3, 5]]
    """
    return np.sum([fold["confusion"] for fold in folds], axis=0).tolist()


def _over(function: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {rate: float(function([item[rate] for item in items])) for rate in RATES}


def _sample_std(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))


def _check_predictions(
    ids: list[str],
    probabilities: np.ndarray,
    labels: list[str],
    clips: Mapping[str, Mapping[str, Any]],
) -> None:
    if probabilities.shape != (len(ids), len(labels)):
        raise ValueError(
            f"probabilities must have shape ({len(ids)}, {len(labels)}), one row per "
            f"id and one column per label (got {probabilities.shape})"
        )
    twice = sorted(id_ for id_, times in Counter(ids).items() if times > 1)
    if twice:
        raise ValueError(f"ids must differ from one another (got {twice} twice)")
    for id_ in ids:
        missing = [
            column for column in CLIP_COLUMNS if column not in clips.get(id_, {})
        ]
        if missing:
            raise ValueError(f"clips has no {' and no '.join(missing)} of {id_}")
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
