"""Scores of a classifier: WA, UA, macro F1 and the confusion matrix.

The paper's tables say "unweighted accuracy", but its set-up computes the plain
fraction of utterances that are right. Here that fraction is ``wa``, and ``ua`` is the
mean of the class recalls: compare the paper with ``wa``. All rates are in percent.
"""

from collections.abc import Sequence
from typing import Any

from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

RATES = ("wa", "ua", "macro_f1")
"""Names of the rates of `classification_metrics`, each in percent."""


def classification_metrics(
    truth: Sequence[str], prediction: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Score predicted against true labels.

    Arguments
    ---------
    truth, prediction : sequence of str
        One label an utterance, in the same order.
    labels : sequence of str
        All labels, in the order of the confusion matrix.

    Returns
    -------
    dict
        ``n``: number of utterances. ``wa``: percent of utterances that are right.
        ``ua``: mean over classes of the percent of the class's utterances that are
        right. ``macro_f1``: mean over classes of
        200 hits / (2 hits + false alarms + misses). ``labels``: as given.
        ``confusion``: counts, one row a true and one column a predicted label.
        A class that does not occur in ``truth`` is left out of both means (as in
        scikit-learn's balanced accuracy); an utterance given to it is a miss of its
        true class all the same.

    Raises
    ------
    ValueError
        Nothing to score, unequal lengths, a label that is not in ``labels``, or a
        label that is there twice.

    Example
    -------
    >>> scores = classification_metrics("aaab", "aabb", "ab")
    >>> [round(scores[rate], 2) for rate in RATES]
    [75.0, 83.33, 73.33]
    >>> scores["confusion"]
    [[2, 1], [0, 1]]
    """
    truth, prediction, labels = list(truth), list(prediction), list(labels)
    _check(truth, prediction, labels)
    present = set(truth)
    averaged = {
        "labels": [label for label in labels if label in present],
        "average": "macro",
        "zero_division": 0,
    }
    return {
        "n": len(truth),
        "wa": 100.0 * float(accuracy_score(truth, prediction)),
        "ua": 100.0 * float(recall_score(truth, prediction, **averaged)),
        "macro_f1": 100.0 * float(f1_score(truth, prediction, **averaged)),
        "labels": labels,
        "confusion": confusion_matrix(truth, prediction, labels=labels).tolist(),
    }


def class_recalls(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """Percent of each class's utterances that are right.

    Arguments
    ---------
    confusion : sequence of sequence of int
        (K, K) counts, rows are the truth.

    Returns
    -------
    list
        K percentages; None for a class without utterances.

    Example
    -------
    >>> class_recalls([[3, 1, 0], [2, 2, 0], [0, 0, 0]])
    [75.0, 50.0, None]
    """
    return [
        100.0 * row[index] / sum(row) if sum(row) else None
        for index, row in enumerate(confusion)
    ]


def _check(truth: list[str], prediction: list[str], labels: list[str]) -> None:
    if len(set(labels)) != len(labels):
        raise ValueError(f"labels must differ from one another (got {labels})")
    if len(truth) != len(prediction):
        raise ValueError(
            "truth and prediction differ in length "
            f"(got {len(truth)} and {len(prediction)})"
        )
    if not truth:
        raise ValueError("there is nothing to score (got 0 utterances)")
    for name, values in (("truth", truth), ("prediction", prediction)):
        unknown = sorted(set(values) - set(labels))
        if unknown:
            raise ValueError(f"{name} has labels {unknown} that are not in {labels}")
