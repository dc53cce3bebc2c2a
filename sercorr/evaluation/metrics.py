"""Scores of a classifier: WA, UA, macro F1 and the confusion matrix.

The paper's tables say "unweighted accuracy", but its set-up computes the plain
fraction of utterances that are right. Here that fraction is ``wa``, and ``ua`` is the
mean of the class recalls: compare the paper with ``wa``. All rates are in percent.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

RATES: dict[str, tuple[str, Callable[..., float]]] = {
    "wa": ("WA %", lambda truth, prediction, labels: accuracy_score(truth, prediction)),
    "ua": ("UA %", partial(recall_score, average="macro", zero_division=0)),
    "macro_f1": ("macro F1 %", partial(f1_score, average="macro", zero_division=0)),
}
"""Key in ``metrics.json`` -> heading in tables, and a function of the true labels, the
predicted ones and ``labels``, the classes that occur among the true ones, from 0 to 1.
A rate that is added here appears in every table, also for folds that were finished
before, and can choose the tested epoch (``select_by``)."""


def classification_metrics(
    truth: Sequence[str], prediction: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Score predicted against true labels.

    Arguments
    ---------
    truth, prediction : sequence of str
        One label per utterance, in the same order.
    labels : sequence of str
        All labels, in the order of the confusion matrix.

    Returns
    -------
    dict
        ``n``: number of utterances. Each of `RATES`, in percent. ``labels``: as given.
        ``confusion``: counts, one row per true and one column per predicted label.
        A class that does not occur in ``truth`` is left out of the means over classes
        (as in scikit-learn's balanced accuracy).

    Example
    -------
    >>> scores = classification_metrics("aaab", "aabb", "ab")
    >>> [round(scores[rate], 2) for rate in RATES]
    [75.0, 83.33, 73.33]
    >>> scores["confusion"]
    [[2, 1], [0, 1]]
    """
    truth, prediction, labels = list(truth), list(prediction), list(labels)
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
        if unknown := sorted(set(values) - set(labels)):
            raise ValueError(f"{name} has labels {unknown} that are not in {labels}")
    present = [label for label in labels if label in set(truth)]
    confusion = confusion_matrix(truth, prediction, labels=labels)
    return {
        "n": len(truth),
        **{
            rate: 100.0 * float(compute(truth, prediction, labels=present))
            for rate, (_, compute) in RATES.items()
        },
        "labels": labels,
        "confusion": confusion.tolist(),
    }


def rate_name(rate: str) -> str:
    """Name one of `RATES` within a sentence.

    Example
    -------
    >>> rate_name("macro_f1")
    'macro F1'
    """
    heading = RATES[rate][0] if rate in RATES else rate
    return heading.removesuffix(" %")


def complete_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Add the rates that were unknown when a fold was scored, from its confusion.

    Example
    -------
    >>> scores = {"wa": 75.0, "labels": ["a", "b"], "confusion": [[2, 1], [0, 1]]}
    >>> round(complete_metrics(scores)["ua"], 2)
    83.33
    """
    missing = [rate for rate in RATES if rate not in metrics]
    if not missing:
        return dict(metrics)
    truth, prediction = [], []
    for true, row in zip(metrics["labels"], metrics["confusion"], strict=True):
        for predicted, count in zip(metrics["labels"], row, strict=True):
            truth += [true] * count
            prediction += [predicted] * count
    scores = classification_metrics(truth, prediction, metrics["labels"])
    return {**metrics, **{rate: scores[rate] for rate in missing}}


def class_recalls(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """Give the percentage of each class that is right; None for an empty class.

    Example
    -------
    >>> class_recalls([[3, 1, 0], [2, 2, 0], [0, 0, 0]])
    [75.0, 50.0, None]
    """
    return [
        100.0 * row[index] / sum(row) if sum(row) else None
        for index, row in enumerate(confusion)
    ]
