"""What ``sercorr compare`` claims: numbers, sentences, folds and seeds."""

import json
import re
import shutil

import numpy as np
import pytest
from made_up_systems import compare, make_grid, make_system, make_two, speakers_of
from scipy import stats

from sercorr.evaluation.metrics import classification_metrics
from sercorr.evaluation.predictions import read_predictions
from sercorr.evaluation.runs import read_heads


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Three heads, each with three seeds of five folds."""
    return make_grid(tmp_path_factory.mktemp("compare") / "grid")


# the numbers


@pytest.mark.parametrize("rate", ["wa", "ua", "macro_f1"])
def test_the_numbers_are_those_of_the_files(grid, rate):
    folds, speakers = [], {}
    for seed in (1, 2, 3):
        for fold in range(1, 6):
            place = f"seed_{seed}/fold_{fold}"
            one, other = (
                json.loads((grid / head / place / "metrics.json").read_text())
                for head in ("att", "mean")
            )
            folds.append(one[rate] - other[rate])
            for sign, head in ((1, "att"), (-1, "mean")):
                said = read_predictions(grid / head / place / "predictions.csv")
                for name in speakers_of(fold):
                    rows = [k for k, who in enumerate(said.speakers) if who == name]
                    truth, prediction = (
                        [labels[k] for k in rows]
                        for labels in (said.truth, said.prediction)
                    )
                    scores = classification_metrics(truth, prediction, said.labels)
                    speakers.setdefault(name, []).append(sign * scores[rate] / 3)
    _, data = compare(grid, rate=rate)
    pair = data["pairs"][1]
    assert [pair["first"], pair["second"]] == ["att", "mean"]
    assert [pair["clips"], pair["speakers"], pair["seeds"]] == [240, 10, [1, 2, 3]]
    assert pair["test_by_train"] == pytest.approx(48 / 144)
    assert pair["difference"] == pytest.approx(np.mean(folds))
    test = pair["tests"]["corrected_t"]
    error = np.std(folds, ddof=1) * np.sqrt(1 / 15 + 1 / 3)
    assert test["p"] == pytest.approx(2 * stats.t.sf(np.mean(folds) / error, 14))
    assert test["low"] == pytest.approx(np.mean(folds) - stats.t.ppf(0.975, 14) * error)
    flips = pair["tests"]["sign_flips"]
    each = [sum(values) for values in speakers.values()]
    assert flips["difference"] == pytest.approx(np.mean(each))
    exact = stats.permutation_test(
        (each,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert flips["p"] == pytest.approx(exact.pvalue)
    boot = pair["tests"]["bootstrap"]
    assert boot["low"] < boot["difference"] < boot["high"]
    assert data["heads"]["att"]["mean"] - data["heads"]["mean"]["mean"] == (
        pytest.approx(np.mean(folds))
    )


def test_holm_is_over_all_pairs_for_each_test(grid):
    _, data = compare(grid)
    for name in ("corrected_t", "bootstrap", "sign_flips"):
        tests = [pair["tests"][name] for pair in data["pairs"]]
        assert min(t["p_holm"] / t["p"] for t in tests) >= 1
        smallest = min(tests, key=lambda t: t["p"])
        assert smallest["p_holm"] == pytest.approx(3 * smallest["p"])


def test_one_sentence_says_what_may_be_claimed(grid):
    text, data = compare(grid)
    claimed = r"att is better than mean by 24\.72 points WA \(95 % CI 1\d\.\d\d to "
    assert re.search(claimed + r"3\d\.\d\d\) for new speakers, p < 0\.001", text)
    assert text.splitlines()[1].endswith("Holm over 3 pairs.")
    apart = [pair["better"] for pair in data["pairs"]]
    assert apart == ["att", "att", None]
    small = data["pairs"][2]["difference"]
    assert f"corr and mean: not apart ({small:+.2f} points WA, 95 % CI" in text


def test_what_holm_undoes_is_no_claim(tmp_path):
    for head, skill in {"a": 0.55, "b": 0.5, "c": 0.52, "d": 0.75}.items():
        for seed in (1, 2, 3):
            make_system(tmp_path / head / f"seed_{seed}", skill, seed=seed)
    text, data = compare(tmp_path)
    pair = data["pairs"][0]
    test = pair["tests"]["corrected_t"]
    assert test["p"] < 0.05 < test["p_holm"]
    assert pair["tests"]["sign_flips"]["p"] < 0.05
    assert pair["better"] is None
    assert f"p = {test['p_holm']:.3f}, Holm over 6 pairs)." in text


def test_the_worse_one_first_is_the_same_claim_mirrored(tmp_path, grid):
    shutil.copytree(grid / "mean", tmp_path / "a")
    shutil.copytree(grid / "att", tmp_path / "b")
    _, data = compare(tmp_path)
    _, before = compare(grid / "att", grid / "mean")
    one, other = data["pairs"][0], before["pairs"][0]
    assert one["sentence"] == other["sentence"].replace("att", "b").replace("mean", "a")
    assert one["difference"] == pytest.approx(-other["difference"])
    for name, test in one["tests"].items():
        mirrored = other["tests"][name]
        assert test["p"] == pytest.approx(mirrored["p"])
        if test["low"] is not None:
            assert test["low"] == pytest.approx(-mirrored["high"])


def test_the_order_of_folders_mirrors_pairs(grid):
    _, one = compare(grid / "att", grid / "corr")
    _, other = compare(grid / "corr", grid / "att")
    assert one["pairs"][0]["difference"] == -other["pairs"][0]["difference"]
    assert one["pairs"][0]["better"] == other["pairs"][0]["better"] == "att"


def test_identical_systems_are_not_apart(tmp_path, grid):
    shutil.copytree(grid / "mean", tmp_path / "a")
    shutil.copytree(grid / "mean", tmp_path / "b")
    text, data = compare(tmp_path)
    pair = data["pairs"][0]
    for test in pair["tests"].values():
        assert (test["difference"], test["p"], test["p_holm"]) == (0, 1, 1)
    assert pair["better"] is None
    assert pair["sentence"] == (
        "a and b: not apart (+0.00 points WA, 95 % CI 0.00 to 0.00, p = 1.000)."
    )
    assert "nan" not in text


# what cannot be tested


def test_one_fold_and_one_seed(tmp_path):
    text, data = compare(*make_two(tmp_path, {"folds": [1]}, {"folds": [1]}))
    assert data["pairs"][0]["tests"].keys() == {"sign_flips"}
    assert data["pairs"][0]["better"] is None
    assert (
        "a and b: nothing can be claimed of the systems (one fold and one seed; "
    ) in text
    assert "sign flips over 2 speakers, p = 0.500, the smallest p that" in text
    assert "not done: fewer than 5 speakers" in text


def test_two_speakers_allow_no_claim(tmp_path):
    own = {"who": lambda fold: ["Ann", "Bob"][fold - 1 : fold], "size": 200}
    own |= {"folds": [1, 2], "n_folds": 2, "train": 200}
    for seed in range(6):
        for name, skill in (("a", 0.9), ("b", 0.3)):
            make_system(tmp_path / name / f"seed_{seed}", skill, seed=seed, **own)
    text, data = compare(tmp_path)
    pair = data["pairs"][0]
    assert pair["tests"]["corrected_t"]["p"] < 0.001
    assert pair["better"] is None
    assert "a and b: not apart (" in text
    assert "but sign flips over 2 speakers, p = 0.500, the smallest p that so" in text
    assert "sign flips of 2 speakers: all 2^2; p cannot be under 0.5." in text


def test_unknown_speakers(tmp_path):
    own = {"who": lambda fold: [f"Ses0{fold}", "unknown"], "size": 100}
    text, data = compare(*make_two(tmp_path, own, own, skills=(0.9, 0.3)))
    pair = data["pairs"][0]
    assert pair["tests"].keys() == {"corrected_t"}
    assert pair["speakers"] is None
    assert "a is better than b" in text
    assert "for new clips (speakers unknown: perhaps not for new ones)" in text
    assert "not done: some speakers are unknown" in text


def test_speakers_heard_in_training_and_one_training_set(tmp_path):
    counts = {"test": 2, "shared": 2, "unknown": 0}
    own = {"record": {"speakers": counts}, "size": 100}
    text, _ = compare(*make_two(tmp_path, own, own, skills=(0.9, 0.3)))
    assert "for speakers heard in training, p" in text
    assert "All: Speaker-dependent: 2 of 2 test speakers also train or" in text
    many = {"who": lambda fold: [f"S{n}" for n in range(8)], "folds": [1]}
    many |= {"n_folds": 1, "train": 400, "size": 50}
    for seed in (1, 2, 3, 4):
        for name, skill in (("a", 0.9), ("b", 0.3)):
            place = tmp_path / "official" / name / f"seed_{seed}"
            make_system(place, skill, seed=seed, **many)
    text, _ = compare(tmp_path / "official")
    assert "for new speakers and this one training set, p" in text


def test_random_flips_are_said(tmp_path):
    own = {"who": lambda fold: [f"S{fold}_{n}" for n in range(6)]}
    text, data = compare(*make_two(tmp_path, own, own))
    assert data["pairs"][0]["speakers"] == 30
    assert "sign flips of 30 speakers: 99999 random; p cannot be under 1e-05." in text


def test_old_runs_did_not_count_their_training_clips(tmp_path):
    text, data = compare(*make_two(tmp_path, {"train": None}, {"train": None}))
    assert data["pairs"][0]["test_by_train"] == pytest.approx(1 / 4)
    assert "The runs did not count their training clips: all clips that are" in text
    (tmp_path / "one").mkdir()
    own = {"train": None, "folds": [1]}
    text, data = compare(*make_two(tmp_path / "one", own, own))
    assert "corrected_t" not in data["pairs"][0]["tests"]


# folds, seeds, settings


def test_a_missing_fold_is_said(tmp_path):
    text, data = compare(*make_two(tmp_path, None, {"folds": [1, 2, 3, 5]}))
    assert data["pairs"][0]["folds"] == [1, 2, 3, 5]
    assert data["pairs"][0]["clips"] == 192
    whole = tmp_path / "whole"
    _, four = compare(
        *make_two(whole, {"folds": [1, 2, 3, 5]}, {"folds": [1, 2, 3, 5]})
    )
    assert data["pairs"][0]["tests"] == four["pairs"][0]["tests"]
    assert (
        "a - b: Folds 1, 2, 3, 5 of 5 are compared; not finished in both: 4."
    ) in text
    assert "b: Missing folds: 4." in text


def test_seeds_that_both_have_are_paired(tmp_path):
    for name, skill, seeds in (("a", 0.7, (1, 2, 9)), ("b", 0.5, (9, 2, 4))):
        for seed in seeds:
            make_system(tmp_path / name / f"seed_{seed}", skill, seed=seed)
    text, data = compare(tmp_path)
    assert data["pairs"][0]["seeds"] == [2, 9]
    assert "Seeds of a left out, as b has none of them: 1." in text
    assert "Seeds of b left out, as a has none of them: 4." in text


def test_a_seed_with_fewer_folds_is_left_out(tmp_path):
    for name, skill in (("a", 0.7), ("b", 0.5)):
        for seed in (1, 2, 3):
            folds = (1, 2) if (name, seed) == ("b", 2) else (1, 2, 3, 4, 5)
            place = tmp_path / name / f"seed_{seed}"
            make_system(place, skill, seed=seed, folds=folds)
    text, data = compare(tmp_path)
    assert data["pairs"][0]["seeds"] == [1, 3]
    assert data["pairs"][0]["folds"] == [1, 2, 3, 4, 5]
    assert "a - b: Seed 2 of b lacks fold 3, 4, 5: left out of both heads." in text
    assert text.count("left out") == 1


def test_the_folds_that_most_seeds_have_are_compared(tmp_path):
    lacking = {("a", 1): 2, ("b", 2): 1, ("a", 3): 1}  # each has four of five folds
    for name, skill in (("a", 0.7), ("b", 0.5)):
        for seed in (1, 2, 3):
            folds = {1, 2, 3, 4, 5} - {lacking.get((name, seed))}
            place = tmp_path / name / f"seed_{seed}"
            make_system(place, skill, seed=seed, folds=sorted(folds))
    text, data = compare(tmp_path)
    assert data["pairs"][0]["seeds"] == [2, 3]
    assert data["pairs"][0]["folds"] == [2, 3, 4, 5]
    assert "a - b: Seed 1 of a lacks fold 2: left out of both heads." in text
    assert "a - b: Folds 2, 3, 4, 5 of 5 are compared; not finished in both: 1." in text
    for name in "ab":  # no seed in common: each head by itself
        for seed in (1, 2, 3):
            folds = {1, 2, 3, 4, 5} - {lacking.get(("a", seed))}
            place = tmp_path / "other" / name / f"seed_{seed + 10 * (name == 'b')}"
            make_system(place, 0.5, seed=seed + 10 * (name == "b"), folds=sorted(folds))
    text, data = compare(tmp_path / "other")
    assert data["pairs"][0]["folds"] == [1, 2, 3, 4, 5]
    assert "a - b: Seed 1 of a lacks fold 2: left out.\n" in text
    assert "a - b: Seed 13 of b lacks fold 1: left out." in text


def test_without_a_common_seed_means_over_seeds_are_compared(tmp_path):
    for name, skill, seeds in (("a", 0.7, (1, 2)), ("b", 0.5, (3, 4, 5))):
        for seed in seeds:
            make_system(tmp_path / name / f"seed_{seed}", skill, seed=seed)
    text, data = compare(tmp_path)
    pair = data["pairs"][0]
    assert pair["seeds"] is None
    assert "No seed in common: the means over each head's seeds were compared" in text
    rates = {
        name: np.mean([[f["wa"] for f in run.metrics] for run in runs], axis=0)
        for name, runs in read_heads(tmp_path).items()
    }
    plain = stats.ttest_rel(rates["a"], rates["b"])
    corrected = abs(plain.statistic) * np.sqrt((1 / 5) / (1 / 5 + 1 / 3))
    test = pair["tests"]["corrected_t"]
    assert test["p"] == pytest.approx(2 * stats.t.sf(corrected, 4))
    difference = rates["a"].mean() - rates["b"].mean()
    for test in pair["tests"].values():
        assert test["difference"] == pytest.approx(difference)


def test_settings_that_differ_are_listed(tmp_path):
    own = {"pooling": "mean", "n_heads": 1}
    text, _ = compare(*make_two(tmp_path, own, {"pooling": "corr"}))
    assert "settings" not in text
    other = {"channel_dropout": 0.5, "record": {"number_of_epochs": 9}}
    text, data = compare(*make_two(tmp_path, own, other))
    assert (
        "a - b: Other settings than the pooling differ: channel_dropout, "
        "number_of_epochs."
    ) in text
    assert data["pairs"][0]["differing_settings"] == [
        "channel_dropout",
        "number_of_epochs",
    ]


def test_only_heads_of_one_corpus_are_compared(tmp_path):
    for corpus in ("iemocap", "ravdess"):
        for head, skill in (("mean", 0.5), ("att", 0.7)):
            place = tmp_path / corpus / head
            make_system(place, skill, record={"corpus": corpus.upper()})
    make_system(tmp_path / "alone/att", 0.5, record={"corpus": "X"})
    text, data = compare(tmp_path)
    found = [(pair["first"], pair["second"]) for pair in data["pairs"]]
    assert found == [
        ("iemocap/att", "iemocap/mean"),
        ("ravdess/att", "ravdess/mean"),
    ]
    assert "Not compared: alone/att." in text
    _, data = compare(tmp_path, baseline="mean")
    assert [pair["second"] for pair in data["pairs"]] == [
        "iemocap/mean",
        "ravdess/mean",
    ]
    _, data = compare(tmp_path, baseline="ravdess/att")
    assert [pair["first"] for pair in data["pairs"]] == ["ravdess/mean"]
