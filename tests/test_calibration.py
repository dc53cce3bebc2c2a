"""Calibration: errors, temperatures, intervals over speakers."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from made_up_results import LABELS
from scipy.stats import binom, norm, t
from sklearn.metrics import brier_score_loss, log_loss
from spoken_runs import draw_answers, read_runs, write_spoken_run

from sercorr.evaluation.calibration import (
    BINS,
    COOLEST,
    FLOOR,
    HOTTEST,
    apply_temperature,
    calibration_error,
    chance_errors,
    error_interval,
    fit_temperature,
    fold_temperatures,
    reliability,
    score_probabilities,
    score_seeds,
    temper,
)
from sercorr.evaluation.intervals import bootstrap
from sercorr.evaluation.pooled import pool_predictions


def loop_error(confidence, right, bins=BINS, weights=None):
    """ECE as Guo et al. write it, bin by bin, in plain Python."""
    weights = [1.0] * len(confidence) if weights is None else weights
    error, n = 0.0, sum(weights)
    for m in range(1, bins + 1):
        inside = [
            (c, r, w)
            for c, r, w in zip(confidence, right, weights, strict=True)
            if (m - 1) / bins < c <= m / bins and w
        ]
        size = sum(w for _, _, w in inside)
        if size:
            accuracy = sum(r * w for _, r, w in inside) / size
            mean = sum(c * w for c, _, w in inside) / size
            error += size / n * abs(accuracy - mean)
    return 100 * error


def indices(truth):
    return np.array([LABELS.index(name) for name in truth])


# errors


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_error_is_that_of_a_plain_loop(bins):
    generator = np.random.default_rng(3)
    confidence = generator.uniform(0.25, 1, 500)
    right = (generator.random(500) < 0.6).astype(float)
    expected = loop_error(confidence.tolist(), right.tolist(), bins)
    assert calibration_error(confidence, right, bins) == pytest.approx(expected)
    shown = reliability(confidence, right, bins)
    parts = shown.counts * np.abs(shown.confidence - shown.accuracy) / 5
    assert np.nansum(parts) == pytest.approx(expected)


def test_error_of_a_table_made_by_hand():
    # 0.2 and 0.6 are upper ends of the bins 3 and 9; 1.0 is in the last
    confidence = np.array([0.2, 0.19, 0.6, 0.601, 1.0, 1.0])
    right = np.array([0, 1, 1, 0, 1, 1])
    found = reliability(confidence, right)
    assert np.flatnonzero(found.counts).tolist() == [2, 8, 9, 14]
    assert found.counts[[2, 8, 9, 14]].tolist() == [2, 1, 1, 2]
    # |0.5 - 0.195| * 2, |1 - 0.6|, |0 - 0.601|, |1 - 1| * 2, over 6
    expected = 100 * (0.61 + 0.4 + 0.601) / 6
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_best_and_worst():
    sure = np.ones(7)
    assert calibration_error(sure, np.ones(7)) == 0.0
    assert calibration_error(sure, np.zeros(7)) == 100.0


def test_scores_are_those_of_scikit_learn():
    truth, p = draw_answers(400, 5, sharper=2.0)
    right = indices(truth) == p.argmax(axis=1)
    found = score_probabilities(p, indices(truth), right)
    order = sorted(LABELS)  # scikit-learn's columns are sorted
    columns = p[:, [LABELS.index(name) for name in order]]
    assert found.nll == pytest.approx(log_loss(truth, columns, labels=order))
    brier = brier_score_loss(truth, columns, labels=order, scale_by_half=False)
    assert found.brier == pytest.approx(brier)
    assert found.gap == pytest.approx(100 * (p.max(axis=1).mean() - right.mean()))
    assert found.ece == pytest.approx(loop_error(p.max(axis=1), right))


def test_a_true_class_of_probability_zero_counts_as_half_a_unit():
    p = np.array([[1.0, 0.0]])
    found = score_probabilities(p, np.array([1]), np.array([0]))
    assert found.nll == pytest.approx(-math.log(0.0000005))
    assert found.brier == 2.0


# temperature


def loop_nll(p, truth, temperature):
    total = 0.0
    for row, true in zip(p, truth, strict=True):
        scores = [math.log(max(x, FLOOR)) / temperature for x in row]
        total += math.log(sum(map(math.exp, scores))) - scores[true]
    return total / len(p)


@pytest.mark.parametrize(("sharper", "n"), [(0.5, 300), (1.0, 300), (3.0, 300)])
def test_temperature_is_that_of_a_grid(sharper, n):
    truth, p = draw_answers(n, 11, sharper)
    truth = indices(truth)
    grid = np.exp(np.linspace(math.log(COOLEST), math.log(HOTTEST), 400))
    losses = [loop_nll(p, truth, value) for value in grid]
    best = grid[int(np.argmin(losses))]
    found = fit_temperature(p, truth)
    assert found == pytest.approx(best, rel=0.02)
    assert loop_nll(p, truth, found) <= min(losses) + 1e-12


def test_scaled_logits_give_the_scale_back():
    truth, p = draw_answers(20_000, 2, sharper=1.0)
    one = fit_temperature(p, indices(truth))
    assert one == pytest.approx(1.0, abs=0.03)
    for scale in (0.4, 2.5):
        scaled = p**scale / (p**scale).sum(axis=1, keepdims=True)
        found = fit_temperature(scaled, indices(truth))
        assert found == pytest.approx(scale * one, rel=1e-3)
        # and six decimals cost next to nothing
        rounded = fit_temperature(scaled.round(6), indices(truth))
        assert rounded == pytest.approx(found, rel=1e-2)


def test_temperature_changes_no_answer():
    truth, p = draw_answers(500, 8, sharper=6.0)
    p = p.round(6)
    assert (p == 0).any()
    right = indices(truth) == p.argmax(axis=1)
    for value in (COOLEST, 0.7, 1.0, 4.0, HOTTEST):
        after = apply_temperature(p, value)
        np.testing.assert_array_equal(after.argmax(axis=1), p.argmax(axis=1))
        np.testing.assert_allclose(after.sum(axis=1), 1)
        assert np.isfinite(after).all()
        assert (indices(truth) == after.argmax(axis=1)).mean() == right.mean()
    np.testing.assert_allclose(apply_temperature(p, 1.0), p, atol=2.1e-6)
    each = np.linspace(0.5, 3, 500)
    rows = [apply_temperature(p[i : i + 1], each[i])[0] for i in range(500)]
    np.testing.assert_array_equal(apply_temperature(p, each), rows)


def test_temperature_stays_within_its_limits():
    p = np.array([[0.8, 0.2]] * 5)
    always, never = (fit_temperature(p, np.full(5, true)) for true in (0, 1))
    assert always == pytest.approx(COOLEST, rel=1e-3)
    assert never == pytest.approx(HOTTEST, rel=1e-3)


# folds, seeds, speakers


@pytest.fixture
def two_seeds(tmp_path):
    for seed in (1, 2):
        write_spoken_run(tmp_path / f"seed_{seed}", seed=seed, sharper=2.0)
    return tmp_path


def read_csv(path):
    """Rows of a predictions.csv: speaker, confidence, right, probabilities, truth."""
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            p = [float(row[label]) for label in LABELS]
            right = float(row["truth"] == row["prediction"])
            yield row.get("speaker"), max(p), right, p, LABELS.index(row["truth"])


def rows_of_seed(root, seed):
    return [
        row
        for fold in (1, 2, 3)
        for row in read_csv(root / f"seed_{seed}/fold_{fold}/predictions.csv")
    ]


def test_folds_are_pooled_and_seeds_averaged(two_seeds):
    expected = []
    for seed in (1, 2):
        _, confidence, right, p, truth = zip(
            *rows_of_seed(two_seeds, seed), strict=True
        )
        error = loop_error(confidence, right)
        nll = -np.mean(
            [math.log(max(r[k], FLOOR)) for r, k in zip(p, truth, strict=True)]
        )
        gap = 100 * (np.mean(confidence) - np.mean(right))
        expected.append((error, gap, nll))
    found = score_seeds(pool_predictions(read_runs(two_seeds)))
    wanted = np.mean(expected, axis=0)
    np.testing.assert_allclose((found.ece, found.gap, found.nll), wanted, rtol=1e-12)


def test_each_fold_and_seed_has_its_own_temperature(two_seeds):
    runs = read_runs(two_seeds)
    found, missing = fold_temperatures(runs)
    assert missing == []
    assert sorted(found) == [(s, f) for s in (0, 1) for f in (1, 2, 3)]
    assert len(set(found.values())) == 6
    path = two_seeds / "seed_2/fold_3/validation.csv"
    _, _, _, p, truth = zip(*read_csv(path), strict=True)
    expected = fit_temperature(np.array(p), np.array(truth))
    assert found[1, 3] == pytest.approx(expected)
    pooled = pool_predictions(runs)
    after = temper(pooled, found)
    rows = (pooled.seeds == 1) & (pooled.folds == 3)
    wanted = apply_temperature(pooled.probabilities[rows], expected)
    np.testing.assert_allclose(after[rows], wanted)
    # twice as sharp as is right: the temperatures mend it
    assert score_seeds(pooled, after).nll < score_seeds(pooled).nll - 0.05


def test_validation_clips_of_another_epoch_are_not_used(two_seeds):
    path = two_seeds / "seed_2/fold_3"
    record = json.loads((path / "run.json").read_text())
    _, _, right, _, _ = zip(*read_csv(path / "validation.csv"), strict=True)
    for rate, usable in ((100 * np.mean(right), True), (12.5, False)):
        record["tested"] |= {"valid_wa": rate, "valid_macro_f2": 1.0}
        (path / "run.json").write_text(json.dumps(record))
        found, missing = fold_temperatures(read_runs(two_seeds))
        assert missing == [path] * (not usable)
        assert ((1, 3) in found) == usable
    (two_seeds / "seed_1/fold_1/validation.csv").unlink()
    assert fold_temperatures(read_runs(two_seeds))[1] == [
        two_seeds / "seed_1/fold_1",
        path,
    ]


def test_interval_is_that_of_a_plain_loop(two_seeds):
    pooled = pool_predictions(read_runs(two_seeds))
    error = score_seeds(pooled).ece
    chance = chance_errors(pooled)
    assert error > np.quantile(chance, 0.975)
    speakers = sorted(set(pooled.speakers))
    assert len(speakers) == 6
    drawn = bootstrap(lambda times: times, 6)
    columns = []  # of each seed: speaker, bin, confidence less right
    for seed in (1, 2):
        names, p, right, _, _ = zip(*rows_of_seed(two_seeds, seed), strict=True)
        of = np.array([speakers.index(name) for name in names])
        columns.append((of, np.ceil(np.multiply(p, BINS)), np.subtract(p, right)))
    errors = []
    for times in drawn[:1500]:
        each = []
        for of, place, off in columns:
            sums = [abs((times[of] * off)[place == m].sum()) for m in range(BINS + 1)]
            each.append(100 * sum(sums) / times[of].sum())
        errors.append(np.mean(each))
    tail = norm.cdf(math.sqrt(6 / 5) * t.ppf(0.025, 5))
    low, high = (2 * error - np.quantile(errors, q) for q in (1 - tail, tail))
    found = error_interval(pooled, error, chance)
    # 1,500 of the 5,000 draws
    np.testing.assert_allclose(found, (max(low, 0), high), atol=0.5)
    assert error_interval(pooled, error, chance) == found
    # a calibrated head would show as much: the interval begins at 0
    assert error_interval(pooled, error, chance + error) == (0.0, found[1])


def test_order_of_clips_and_names_change_no_interval(two_seeds):
    pooled = pool_predictions(read_runs(two_seeds))
    order = np.random.default_rng(0).permutation(len(pooled.ids))
    names = [name for name in pooled.__dataclass_fields__ if name != "labels"]
    other = replace(pooled, **{name: getattr(pooled, name)[order] for name in names})
    error, chance = score_seeds(pooled).ece, chance_errors(pooled)
    assert score_seeds(other).ece == pytest.approx(error)
    np.testing.assert_allclose(chance_errors(other), chance)
    found = error_interval(other, error, chance)
    assert found == pytest.approx(error_interval(pooled, error, chance))


def test_few_speakers_have_no_interval(tmp_path):
    write_spoken_run(tmp_path, folds=(1, 2))
    pooled = pool_predictions(read_runs(tmp_path))
    assert error_interval(pooled, 5.0, np.zeros(3)) is None


def test_chance_is_that_of_the_binomial_distribution(tmp_path):
    write_spoken_run(tmp_path / "seed_1")
    write_spoken_run(tmp_path / "seed_2")  # the same answers: chance is the same
    pooled = pool_predictions(read_runs(tmp_path))
    n = len(pooled.ids) // 2
    p = np.full_like(pooled.probabilities, 0.1)
    p[:, 2] = 0.7
    found = chance_errors(replace(pooled, probabilities=p), draws=4000)
    k = np.arange(n + 1)
    expected = 100 * np.sum(binom.pmf(k, n, 0.7) * np.abs(k / n - 0.7))
    assert found.mean() == pytest.approx(expected, rel=0.05)
    one = replace(
        pooled,
        **{
            name: getattr(pooled, name)[:n]
            for name in pooled.__dataclass_fields__
            if name != "labels"
        },
    )
    np.testing.assert_allclose(chance_errors(one), chance_errors(pooled))
