"""All test clips of a head's folds and seeds in one table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.data.utterances import UNKNOWN
from sercorr.errors import InputError
from sercorr.evaluation.intervals import units_of
from sercorr.evaluation.metrics import RATES
from sercorr.evaluation.predictions import (
    PREDICTIONS,
    Predictions,
    read_predictions,
    read_test_predictions,
)
from sercorr.evaluation.runs import Run

_TOLERANCE = 1e-6  # of a rate, in points: other versions of the libraries


@dataclass(frozen=True)
class Pooled:
    """N rows: one per test clip and seed.

    Attributes
    ----------
    labels : list of str
        The K classes.
    seeds, folds : numpy.ndarray
        (N,), int: the run's position from 0, and the fold's number.
    ids, speakers, files : numpy.ndarray
        (N,), str; the speaker is `UNKNOWN`, and the file empty, where not known.
    truth, prediction : numpy.ndarray
        (N,), int: positions in ``labels``.
    probabilities : numpy.ndarray
        (N, K), float64, with six decimals.
    """

    labels: list[str]
    seeds: np.ndarray
    folds: np.ndarray
    ids: np.ndarray
    speakers: np.ndarray
    files: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def right(self) -> np.ndarray:
        """Whether each answer is right: (N,), float, 0 or 1."""
        return (self.truth == self.prediction).astype(np.float64)

    @cached_property
    def clips(self) -> np.ndarray:
        """The same number, from 0, for the rows of one clip: (N,), int."""
        return np.unique(self.ids, return_inverse=True)[1]

    @cached_property
    def units(self) -> np.ndarray:
        """What a bootstrap draws, see `units_of`: (N,), int."""
        return units_of(self.speakers.tolist(), self.ids.tolist())


def pool_predictions(runs: Sequence[Run]) -> Pooled:
    """Read what all seeds said about the test clips of their finished folds.

    Raises
    ------
    InputError
        There is no finished fold, the classes are not the same everywhere, or a
        ``predictions.csv`` is missing, broken or not what ``metrics.json`` counted.
    """
    parts = [
        (seed, fold["fold"], read_test_predictions(run, fold["fold"]))
        for seed, run in enumerate(runs)
        for fold in run.metrics
    ]
    if not parts:
        raise InputError("there is no finished fold to look at; run the folds first")
    metrics = [fold for run in runs for fold in run.metrics]
    labels = parts[0][2].labels
    truth, prediction = [], []
    for (seed, fold, said), scored in zip(parts, metrics, strict=True):
        place = runs[seed].folder / f"fold_{fold}" / PREDICTIONS
        if said.labels != labels:
            raise InputError(
                f"{place}: the classes are {', '.join(said.labels)}, those of the "
                f"first fold {', '.join(labels)}; move one of them away"
            )
        own = _check_counts(place, scored, said)
        truth.append(own[0])
        prediction.append(own[1])
    sizes = [len(said.ids) for _, _, said in parts]
    return Pooled(
        labels,
        np.repeat([seed for seed, _, _ in parts], sizes),
        np.repeat([fold for _, fold, _ in parts], sizes),
        _words(said.ids for _, _, said in parts),
        _words(said.speakers or [UNKNOWN] * len(said.ids) for _, _, said in parts),
        _words(said.files or [""] * len(said.ids) for _, _, said in parts),
        np.concatenate(truth),
        np.concatenate(prediction),
        np.concatenate([said.probabilities for _, _, said in parts]),
    )


def check_folds(runs: Iterable[Run]) -> None:
    """Do as `check_fold` for all finished folds of some runs."""
    for run in runs:
        for scored, folder in zip(run.metrics, run.fold_folders, strict=True):
            check_fold(folder, scored)


def check_fold(folder: Path, scored: Mapping[str, Any]) -> None:
    """Compare a fold's ``metrics.json`` with its ``predictions.csv``.

    Without ``predictions.csv`` (of old runs) there is nothing to compare.

    Arguments
    ---------
    folder : pathlib.Path
        The fold's.
    scored : mapping
        What ``metrics.json`` says, from `sercorr.evaluation.runs.read_fold`.

    Raises
    ------
    InputError
        Its classes, number of clips, confusion matrix or one of `RATES` are not what
        the predictions give.
    """
    place = folder / PREDICTIONS
    if not place.exists():
        return
    truth, prediction = _check_counts(place, scored, read_predictions(place))
    present = np.unique(truth)
    for rate, (_, compute) in RATES.items():
        found = 100.0 * float(compute(truth, prediction, labels=present))
        known = scored[rate]
        number = isinstance(known, int | float)
        if not (number and abs(found - known) <= _TOLERANCE):  # nor is NaN
            raise _disagreement(place, rate, known, found)


def _check_counts(
    place: Path, scored: Mapping[str, Any], said: Predictions
) -> tuple[np.ndarray, np.ndarray]:
    """Give truth and prediction as positions in the labels, if they were counted so."""
    truth = class_indices(place, said, said.truth)
    prediction = class_indices(place, said, said.prediction)
    counts = count_confusion(truth, prediction, len(said.labels)).tolist()
    found = {"labels": said.labels, "n": len(truth), "confusion": counts}
    for name, value in found.items():
        if scored[name] != value:
            raise _disagreement(place, name, scored[name], value)
    return truth, prediction


def _disagreement(place: Path, name: str, scored: Any, found: Any) -> InputError:
    return InputError(
        f"{place.parent}: predictions.csv and metrics.json do not agree: {name} is "
        f"{found} in the former, {scored} in the latter; run evaluate.py for this fold"
    )


def count_confusion(
    truth: np.ndarray, prediction: np.ndarray, n_classes: int
) -> np.ndarray:
    """Count answers (n,), positions of classes: (K, K), rows are the truth.

    Example
    -------
    >>> count_confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (truth, prediction), 1)
    return confusion


def class_indices(place: Path, said: Predictions, classes: Sequence[str]) -> np.ndarray:
    """Turn true or predicted classes of a file into positions in its labels.

    Raises
    ------
    InputError
        A class has no column.
    """
    indices = {label: index for index, label in enumerate(said.labels)}
    if unknown := sorted(set(classes) - indices.keys()):
        raise InputError(
            f"{place}: has clips of {', '.join(unknown)}, but columns for "
            f"{', '.join(said.labels)} alone; run evaluate.py for this fold"
        )
    return np.array([indices[name] for name in classes], dtype=np.int64)


def _words(columns: Iterable[Sequence[str]]) -> np.ndarray:
    return np.array([word for column in columns for word in column], dtype=object)
