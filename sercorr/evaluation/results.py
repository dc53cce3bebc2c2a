"""The files of a tested fold, and figures over folds and seeds.

    fold_K/predictions.csv   one row per utterance
    fold_K/metrics.json      the fold's scores; its presence marks a finished fold

Deviations over folds are the population's (squared deviations divided by their
number): all sessions are there. Those over seeds are the sample's (divided by the
number less one). Of one fold or one seed there is none: None.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.evaluation.metrics import RATES, classification_metrics
from sercorr.evaluation.predictions import (
    CLIP_COLUMNS,
    PREDICTIONS,
    predicted_labels,
    write_predictions,
)
from sercorr.evaluation.raters import AGREEMENT, rater_agreement
from sercorr.evaluation.runs import Run, same_folds
from sercorr.files import atomic_path, write_json

FIGURES = ("mean", "std", "std_over_seeds")
"""Keys of what `summarise_seeds` gives for each rate."""

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
        (n, K), one column per label. The prediction is the largest before rounding,
        the first among equals; the file has six decimals.
    labels : sequence of str
        The K labels.
    clips : mapping
        Id -> at least `CLIP_COLUMNS`, for instance the test manifest. Where raters'
        votes are known, ``vote_counts`` maps a class to them.

    Returns
    -------
    dict
        ``fold``, what `classification_metrics` gives, and as ``agreement`` what
        `rater_agreement` does, if any clip has votes.

    Raises
    ------
    ValueError
        Shapes disagree, an id occurs twice or is not in ``clips``, or a row is no
        distribution. Nothing is written then.

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
    if probabilities.shape != (len(ids), len(labels)):
        raise ValueError(
            f"probabilities must have shape ({len(ids)}, {len(labels)}), one row per "
            f"id and one column per label (got {probabilities.shape})"
        )
    for id_, times in Counter(ids).items():
        if times > 1:
            raise ValueError(f"ids must differ from one another (got {id_} twice)")
    for id_, row in zip(ids, probabilities, strict=True):
        missing = [name for name in CLIP_COLUMNS if name not in clips.get(id_, {})]
        if missing:
            raise ValueError(f"clips has no {' and no '.join(missing)} of {id_}")
        if not ((row >= 0).all() and abs(row.sum() - 1) <= _SUM_TOLERANCE):
            raise ValueError(
                "each row of probabilities must be non-negative with the sum 1 "
                f"(got {row.tolist()} for {id_})"
            )
    prediction = predicted_labels(probabilities, labels)
    metrics = {"fold": int(fold), **classification_metrics(truth, prediction, labels)}
    votes = [clips[id_].get("vote_counts") for id_ in ids]
    if agreement := rater_agreement(votes, probabilities, labels):
        metrics["agreement"] = agreement
    with atomic_path(Path(folder) / "metrics.json") as temporary:
        write_json(temporary, metrics)
        path = Path(folder) / PREDICTIONS
        write_predictions(path, ids, truth, probabilities, labels, clips)
    return metrics


def summarise(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join folds with the mean and (population) standard deviation of each rate.

    Agreement with the raters is joined as the rates are, over the folds that have it.
    """
    return {
        "folds": list(folds),
        "mean": _over(folds, _mean),
        "std": _over(folds, partial(_std, less=0)),
    }


def summarise_seeds(runs: Sequence[Run]) -> dict[str, Any]:
    """Join the runs of a head's seeds.

    Figures are of the seeds that `same_folds` gives; ``left_out`` names the others.
    ``folds`` says how many folds of theirs are finished, ``n_folds`` how many there are
    in all seeds. ``std`` is the deviation over folds, averaged over the seeds,
    ``std_over_seeds`` the (sample) deviation of the seeds' means. ``runs`` are all.
    """
    used = same_folds(runs)
    each = []
    for run in runs:
        folds = [fold["fold"] for fold in run.metrics]
        each.append({"seed": run.seed, **summarise(run.metrics), "folds": folds})
    chosen = [own for run, own in zip(runs, each, strict=True) if run in used]
    means = [own["mean"] for own in chosen]
    return {
        "folds": sum(len(run.metrics) for run in used),
        "n_folds": sum(run.n_folds for run in runs),
        "mean": _over(means, _mean),
        "std": _over([own["std"] for own in chosen], _mean),
        "std_over_seeds": _over(means, partial(_std, less=1)),
        "left_out": [run.seed for run in runs if run not in used],
        "runs": each,
    }


def pool_confusion(folds: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Add the folds' confusion matrices."""
    return np.sum([fold["confusion"] for fold in folds], axis=0).tolist()


def scores_of(item: Mapping[str, Any]) -> dict[str, float | None]:
    """Give the rates of a fold or a summary and, where known, its `AGREEMENT`."""
    known = {**item, **item.get("agreement", {})}
    return {key: known[key] for key in (*RATES, *AGREEMENT) if key in known}


def _over(items: Sequence[Mapping[str, Any]], join: Callable) -> dict[str, Any]:
    """Join each figure over the items that have it."""
    each = [scores_of(item) for item in items]
    return {
        key: join([item[key] for item in each if item.get(key) is not None])
        for key in (*RATES, *AGREEMENT)
        if any(key in item for item in each)
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _std(values: list[float], less: int) -> float | None:
    """Divide the squared deviations by their number less ``less``."""
    return float(np.std(values, ddof=less)) if len(values) > 1 else None
