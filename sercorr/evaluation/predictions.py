"""What a head said about each clip: ``predictions.csv`` and ``validation.csv``.

id, truth, prediction, one probability per label, and of test clips speaker, file
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sercorr.errors import InputError
from sercorr.evaluation.runs import Run
from sercorr.files import json_digest, read_json, write_text

PREDICTIONS, VALIDATION = "predictions.csv", "validation.csv"
"""Of the test clips, and of the validation clips at the tested epoch."""

CLIP_COLUMNS = ("speaker", "file")
"""Last columns of ``predictions.csv``: keys of each clip in the test manifest."""

_FIRST = ["id", "truth", "prediction"]
_OF_CLIP = ["speaker", "file"]


@dataclass(frozen=True)
class Predictions:
    """What a head said about n clips, sorted by id.

    Attributes
    ----------
    labels : list of str
        The K classes.
    ids, truth, prediction : list of str
        Of each clip.
    probabilities : numpy.ndarray
        (n, K), float64, with the file's six decimals.
    speakers, files : list of str
        Of each clip; empty where the file does not say (validation).
    """

    labels: list[str]
    ids: list[str]
    truth: list[str]
    prediction: list[str]
    probabilities: np.ndarray
    speakers: list[str]
    files: list[str]


def predicted_labels(probabilities: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Give the label of the largest probability in each row, the first among equals.

    Example
    -------
    >>> predicted_labels(np.array([[0.25, 0.75], [0.5, 0.5]]), ["ang", "sad"])
    ['sad', 'ang']
    """
    return [labels[index] for index in probabilities.argmax(axis=1)]


def write_predictions(
    path: str | os.PathLike,
    ids: Sequence[str],
    truth: Sequence[str],
    probabilities: np.ndarray,
    labels: Sequence[str],
    clips: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write one row per clip, sorted by id.

    Arguments
    ---------
    path : path
        The file; written whole or not at all.
    ids, truth : sequence of str
        One of each per clip.
    probabilities : numpy.ndarray
        (n, K). The prediction is that of `predicted_labels`, before rounding to the
        file's six decimals.
    labels : sequence of str
        The K classes.
    clips : mapping, optional
        Id -> at least `CLIP_COLUMNS`, which are written then.
    """
    columns = CLIP_COLUMNS if clips is not None else ()
    prediction = predicted_labels(probabilities, labels)
    rows = zip(ids, truth, prediction, probabilities, strict=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIRST, *labels, *columns])
    for id_, true, predicted, row in sorted(rows, key=lambda row: row[0]):
        known = [clips[id_][column] for column in columns] if clips else []
        writer.writerow([id_, true, predicted, *(f"{p:.6f}" for p in row), *known])
    write_text(path, text.getvalue())


def read_predictions(path: str | os.PathLike) -> Predictions:
    """Read a file of `write_predictions`.

    Raises
    ------
    InputError
        It is missing or broken.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "validation.csv"
    >>> p = np.array([[0.25, 0.75], [0.5, 0.5]])
    >>> write_predictions(path, "ba", ["sad", "sad"], p, ["ang", "sad"])
    >>> found = read_predictions(path)
    >>> found.ids, found.prediction, found.labels
    (['a', 'b'], ['ang', 'sad'], ['ang', 'sad'])
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: there is no such file; run evaluate.py for this fold"
        )
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    # there may be more columns than speaker and file, of one's own
    end = next((k for k in range(3, len(header)) if header[k:][:2] == _OF_CLIP), None)
    labels = header[3:end]
    if header[:3] != _FIRST or not labels or not rows:
        raise InputError(
            f"{path}: its first line is {','.join(header)[:80]!r}; it must have "
            "id,truth,prediction and a column for each label, and rows must follow; "
            "run evaluate.py for this fold"
        )
    try:
        probabilities = np.array(
            [[float(p) for p in row[3 : 3 + len(labels)]] for row in rows]
        )
        if any(len(row) != len(header) for row in rows):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{path}: a row has too few columns, or no numbers where probabilities "
            "should be; run evaluate.py for this fold"
        ) from None
    ids, truth, prediction = ([row[column] for row in rows] for column in range(3))
    speakers = [] if end is None else [row[end] for row in rows]
    files = [] if end is None else [row[end + 1] for row in rows]
    return Predictions(labels, ids, truth, prediction, probabilities, speakers, files)


def read_test_predictions(run: Run, fold: int) -> Predictions:
    """Read what was said about a fold's test clips."""
    return read_predictions(run.folder / f"fold_{fold}" / PREDICTIONS)


def manifest_of(
    run: Run, fold: int, part: str = "test"
) -> dict[str, dict[str, Any]] | None:
    """Read what is known of a fold's clips: id -> the manifest's entry.

    ``part`` is ``train``, ``valid`` or ``test``. None where ``run.json`` does not say
    where the manifests are, or where they are missing or of other data by now.
    """
    record = run.records.get(fold, {})
    folder = record.get("places", {}).get("manifest_folder")
    if folder is None:
        return None
    try:
        same = json_digest(read_json(Path(folder) / "prepare.json")["files"])
        if same != record.get("manifests"):
            return None
        return read_json(Path(folder) / f"fold_{fold}" / f"{part}.json")
    except (InputError, OSError, KeyError, TypeError):
        return None
