"""Scores of a classifier: WA, UA, macro F1 and the confusion matrix.

The paper's tables say "unweighted accuracy", but its set-up computes the plain
fraction of utterances that are right. Here that fraction is ``wa``, and ``ua`` is the
mean of the class recalls: compare the paper with ``wa``. All rates are in percent.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def weighted_accuracy(
    truth: list[str], prediction: list[str], present: list[str]
) -> float:
    """Share of utterances that are right."""
    return _sklearn().accuracy_score(truth, prediction)


def unweighted_accuracy(
    truth: list[str], prediction: list[str], present: list[str]
) -> float:
    """Mean of the class recalls."""
    return _sklearn().recall_score(
        truth, prediction, labels=present, average="macro", zero_division=0
    )


def macro_f1(truth: list[str], prediction: list[str], present: list[str]) -> float:
    """Mean over classes of 2 hits / (2 hits + false alarms + misses)."""
    return _sklearn().f1_score(
        truth, prediction, labels=present, average="macro", zero_division=0
    )


RATES: dict[str, tuple[str, Callable[[list[str], list[str], list[str]], float]]] = {
    "wa": ("WA %", weighted_accuracy),
    "ua": ("UA %", unweighted_accuracy),
    "macro_f1": ("macro F1 %", macro_f1),
}
"""Key in ``metrics.json`` -> heading in tables, and a function of the true labels, the
predicted ones and the classes that occur among the true ones, from 0 to 1. A rate that
is added here appears in every table, also for folds that were finished before."""


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
        (as in scikit-learn's balanced accuracy); an utterance given to it is a miss
        of its true class all the same.

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
    present = [label for label in labels if label in set(truth)]
    confusion = _sklearn().confusion_matrix(truth, prediction, labels=labels)
    return {
        "n": len(truth),
        **{
            rate: 100.0 * float(compute(truth, prediction, present))
            for rate, (_, compute) in RATES.items()
        },
        "labels": labels,
        "confusion": confusion.tolist(),
    }


def complete_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Add the rates that were unknown when a fold was scored.

    They are computed from the fold's confusion matrix; what is there stays.

    Example
    -------
    >>> scores = {"wa": 75.0, "labels": ["a", "b"], "confusion": [[2, 1], [0, 1]]}
    >>> round(complete_metrics(scores)["ua"], 2)
    83.33
    """
    if all(rate in metrics for rate in RATES):
        return dict(metrics)
    labels, confusion = metrics["labels"], metrics["confusion"]
    pairs = [
        (true, predicted)
        for true, row in zip(labels, confusion, strict=True)
        for predicted, count in zip(labels, row, strict=True)
        for _ in range(count)
    ]
    truth, prediction = zip(*pairs, strict=True)
    scores = classification_metrics(truth, prediction, labels)
    missing = {rate: scores[rate] for rate in RATES if rate not in metrics}
    return {**metrics, **missing}


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


def _sklearn() -> Any:
    """Import scikit-learn late: it takes a second, and tables alone need none."""
    import sklearn.metrics  # noqa: PLC0415

    return sklearn.metrics


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
