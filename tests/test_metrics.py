"""Scores against loops over floats."""

import random

import pytest
from made_up_results import LABELS

from sercorr.evaluation.metrics import (
    RATES,
    class_recalls,
    classification_metrics,
    complete_metrics,
)


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
    recalls = class_recalls(confusion)
    known = [recall for recall in recalls if recall is not None]
    assert len(known) == len(set(truth))
    assert sum(known) / len(known) == pytest.approx(scores["ua"], abs=1e-12)
    # what a file lacks comes from its confusion; what is there stays
    old = {key: scores[key] for key in ("n", "labels", "confusion")}
    assert complete_metrics(old) == scores
    assert complete_metrics({**old, "wa": 12.0}) == {**scores, "wa": 12.0}


def test_a_rate_may_be_added(monkeypatch):
    truth, prediction = draw(4, 70)
    old = classification_metrics(truth, prediction, LABELS)

    def sad_share(truth, prediction, labels):
        return sum(label == "sad" for label in prediction) / len(prediction)

    monkeypatch.setitem(RATES, "sad", ("sad %", sad_share))
    share = 100 * prediction.count("sad") / 70
    assert complete_metrics(old)["sad"] == pytest.approx(share)
    again = classification_metrics(truth, prediction, LABELS)
    assert list(again) == ["n", *RATES, "labels", "confusion"]


def test_bad_input():
    for truth, prediction, labels, message in (
        ([], [], LABELS, r"nothing to score \(got 0 utterances\)"),
        (["neu"], ["neu", "sad"], LABELS, r"differ in length \(got 1 and 2\)"),
        (["exc"], ["hap"], LABELS, r"truth has labels \['exc'\] .* \['neu', 'hap'"),
        (["hap"], ["fru"], LABELS, r"prediction has labels \['fru'\]"),
        (["neu"], ["neu"], ["neu", "neu"], r"labels must differ .*'neu', 'neu'"),
    ):
        with pytest.raises(ValueError, match=message):
            classification_metrics(truth, prediction, labels)
