"""Scores against loops over floats, and against scikit-learn's own averages."""

import random

import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from sercorr.evaluation import metrics
from sercorr.evaluation.metrics import (
    RATES,
    class_recalls,
    classification_metrics,
    complete_metrics,
)

LABELS = ["neu", "hap", "ang", "sad"]


def loop_scores(truth, prediction, labels):
    """Score in the slowest way: rates and confusion."""
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
    rates = {
        "wa": 100 * right / len(truth),
        "ua": 100 * sum(recalls) / len(recalls),
        "macro_f1": 100 * sum(f1s) / len(f1s),
    }
    return rates, confusion


def draw(seed, n, truth_labels=LABELS, prediction_labels=LABELS):
    """Draw labels that agree about half of the time."""
    generator = random.Random(seed)
    weights = range(1, len(truth_labels) + 1)
    truth = generator.choices(truth_labels, weights=weights, k=n)
    prediction = [
        true
        if generator.random() < 0.4 and true in prediction_labels
        else generator.choice(prediction_labels)
        for true in truth
    ]
    return truth, prediction


def test_the_loop_itself():
    rates, confusion = loop_scores("aaab", "aabb", "ab")
    assert rates["wa"] == 75
    assert rates["ua"] == pytest.approx((200 / 3 + 100) / 2)
    assert rates["macro_f1"] == pytest.approx((100 * 4 / 5 + 100 * 2 / 3) / 2)
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
    rates, confusion = loop_scores(truth, prediction, LABELS)
    for rate, value in rates.items():
        assert type(scores[rate]) is float
        assert scores[rate] == pytest.approx(value, abs=1e-12)
    assert scores["confusion"] == confusion
    assert type(scores["confusion"][0][0]) is int
    assert (scores["n"], scores["labels"]) == (n, LABELS)


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


@pytest.mark.parametrize("truth_labels", [LABELS, ["hap", "sad"]])
def test_what_a_file_lacks_comes_from_its_confusion(truth_labels):
    scores = classification_metrics(*draw(3, 90, truth_labels), LABELS)
    old = {key: scores[key] for key in ("n", "labels", "confusion")}
    assert complete_metrics(old) == scores
    kept = {**old, "wa": 12.0}  # what is there stays
    assert complete_metrics(kept) == {**scores, "wa": 12.0}
    assert complete_metrics(scores) == scores


def test_a_rate_may_be_added(monkeypatch):
    truth, prediction = draw(4, 70)
    old = classification_metrics(truth, prediction, LABELS)

    def sad_share(truth, prediction, present):
        return sum(label == "sad" for label in prediction) / len(prediction)

    monkeypatch.setitem(metrics.RATES, "sad", ("sad %", sad_share))
    share = 100 * prediction.count("sad") / 70
    assert complete_metrics(old)["sad"] == pytest.approx(share)
    again = classification_metrics(truth, prediction, LABELS)
    assert list(again) == ["n", *RATES, "labels", "confusion"]


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
