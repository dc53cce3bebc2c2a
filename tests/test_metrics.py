"""Scores against loops over floats, and against scikit-learn's own averages."""

import random

import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from sercorr.evaluation.metrics import class_recalls, classification_metrics

LABELS = ["neu", "hap", "ang", "sad"]


def loop_scores(truth, prediction, labels):
    """Score in the slowest way: WA, UA, macro F1, confusion."""
    recalls, f1s, confusion = [], [], []
    for label in labels:
        hits = misses = alarms = 0
        row = dict.fromkeys(labels, 0)
        for true, predicted in zip(truth, prediction, strict=True):
            if true == label:
                row[predicted] += 1
            hits += true == label and predicted == label
            misses += true == label and predicted != label
            alarms += true != label and predicted == label
        confusion.append(list(row.values()))
        if hits + misses:
            recalls.append(hits / (hits + misses))
            f1s.append(2 * hits / (2 * hits + misses + alarms))
    right = sum(t == p for t, p in zip(truth, prediction, strict=True))
    return (
        100 * right / len(truth),
        100 * sum(recalls) / len(recalls),
        100 * sum(f1s) / len(f1s),
        confusion,
    )


def draw(seed, n, truth_labels=LABELS, prediction_labels=LABELS):
    """Draw labels that agree about half of the time."""
    generator = random.Random(seed)
    truth = generator.choices(
        truth_labels, weights=range(1, len(truth_labels) + 1), k=n
    )
    prediction = [
        t
        if generator.random() < 0.4 and t in prediction_labels
        else generator.choice(prediction_labels)
        for t in truth
    ]
    return truth, prediction


def test_the_loop_itself():
    wa, ua, f1, confusion = loop_scores("aaab", "aabb", "ab")
    assert wa == 75
    assert ua == pytest.approx((200 / 3 + 100) / 2)
    assert f1 == pytest.approx((100 * 4 / 5 + 100 * 2 / 3) / 2)
    assert confusion == [[2, 1], [0, 1]]


@pytest.mark.parametrize(
    ("truth_labels", "prediction_labels"),
    [
        (LABELS, LABELS),
        (["neu", "sad"], LABELS),  # classes that are predicted but never true
        (LABELS, ["hap"]),  # classes that are never predicted
        (["ang"], ["ang", "neu"]),
    ],
)
@pytest.mark.parametrize("n", [1, 7, 500])
def test_scores_equal_the_loop(n, truth_labels, prediction_labels):
    truth, prediction = draw(n, n, truth_labels, prediction_labels)
    scores = classification_metrics(truth, prediction, LABELS)
    wa, ua, f1, confusion = loop_scores(truth, prediction, LABELS)
    assert scores["wa"] == pytest.approx(wa, abs=1e-12)
    assert scores["ua"] == pytest.approx(ua, abs=1e-12)
    assert scores["macro_f1"] == pytest.approx(f1, abs=1e-12)
    assert scores["confusion"] == confusion
    assert scores["n"] == n
    assert scores["labels"] == LABELS


def test_scores_equal_scikit_learn():
    truth, prediction = draw(8, 60)
    scores = classification_metrics(truth, prediction, LABELS)
    balanced = 100 * balanced_accuracy_score(truth, prediction)
    assert scores["ua"] == pytest.approx(balanced, abs=1e-12)
    macro = 100 * f1_score(truth, prediction, average="macro")
    assert scores["macro_f1"] == pytest.approx(macro, abs=1e-12)
    assert abs(scores["wa"] - scores["ua"]) > 0.5  # the case can tell them apart


def test_order_of_utterances_and_labels():
    truth, prediction = draw(5, 80)
    scores = classification_metrics(truth, prediction, LABELS)
    turned = classification_metrics(truth[::-1], prediction[::-1], LABELS[::-1])
    assert turned["wa"] == scores["wa"]
    assert turned["ua"] == pytest.approx(scores["ua"], abs=1e-12)
    assert turned["confusion"] == [row[::-1] for row in scores["confusion"][::-1]]


def test_values_are_plain_python():
    scores = classification_metrics(["neu", "sad"], ["neu", "neu"], LABELS)
    assert {type(scores[key]) for key in ("wa", "ua", "macro_f1")} == {float}
    assert type(scores["confusion"][0][0]) is int


def test_class_recalls_average_to_ua():
    truth, prediction = draw(9, 200, ["neu", "ang", "sad"])
    scores = classification_metrics(truth, prediction, LABELS)
    recalls = class_recalls(scores["confusion"])
    assert recalls[1] is None
    known = [recall for recall in recalls if recall is not None]
    assert sum(known) / 3 == pytest.approx(scores["ua"], abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "prediction", "labels", "message"),
    [
        ([], [], LABELS, r"nothing to score \(got 0 utterances\)"),
        (["neu"], ["neu", "sad"], LABELS, r"differ in length \(got 1 and 2\)"),
        (["exc"], ["hap"], LABELS, r"truth has labels \['exc'\] .* \['neu', 'hap'"),
        (["hap"], ["fru"], LABELS, r"prediction has labels \['fru'\]"),
        (["neu"], ["neu"], ["neu", "neu"], r"labels must differ .*'neu', 'neu'"),
    ],
)
def test_bad_input(truth, prediction, labels, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(truth, prediction, labels)
