"""The statistics of a comparison, each against a second implementation."""

import math
import statistics
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from confidence_intervals import evaluate_with_conf_int
from made_up_systems import make_system
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from benchmarks import false_alarms
from sercorr.evaluation.comparison import (
    COMPARABLE,
    RANDOM_FLIPS,
    confusion_rates,
    corrected_t_test,
    holm,
    sign_flip_test,
    smallest_p,
    speaker_bootstrap,
)
from sercorr.evaluation.intervals import bootstrap, expanded_interval
from sercorr.evaluation.metrics import RATES, classification_metrics

SPEAKERS = 10


def drawn(size: int, seed: int = 0, shift: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 2.0, size)


def confusions(seed: int, seeds: int = 3, classes: int = 4) -> np.ndarray:
    """Matrices of ten speakers; some lack a class, sizes differ."""
    generator = np.random.default_rng(seed)
    sizes = np.random.default_rng(99).integers(0, 9, (SPEAKERS, classes))
    counts = np.zeros((seeds, SPEAKERS, classes, classes), dtype=int)
    for run, speaker, true in np.ndindex(seeds, SPEAKERS, classes):
        skill = np.full(classes, 0.5 / (classes - 1))
        skill[true] = 0.5
        counts[run, speaker, true] = generator.multinomial(sizes[speaker, true], skill)
    return counts


def labelled(confusion: np.ndarray) -> tuple[list[str], list[str]]:
    """Truth and prediction of the clips that a matrix counts."""
    cells = [
        (row, column) for row, column in np.ndindex(confusion.shape)
        for _ in range(confusion[row, column])
    ]  # fmt: skip
    return ["abcd"[row] for row, _ in cells], ["abcd"[column] for _, column in cells]


def scored(confusion: np.ndarray, rate: str) -> float:
    truth, prediction = labelled(confusion)
    return classification_metrics(truth, prediction, "abcd")[rate]


@pytest.mark.parametrize("rate", COMPARABLE)
def test_rates_of_many_matrices_are_those_of_the_metrics(rate):
    counts = confusions(1)
    assert (counts.sum(axis=-1) == 0).any()  # a class that does not occur
    found = confusion_rates(counts, rate)
    assert found.shape == counts.shape[:2]
    for place in np.ndindex(found.shape):
        assert found[place] == pytest.approx(scored(counts[place], rate), abs=1e-9)
    assert np.isnan(confusion_rates(np.zeros((4, 4), int), rate))


def test_every_rate_can_be_compared():
    assert tuple(RATES) == COMPARABLE
    with pytest.raises(ValueError, match="rate is 'mcc'"):
        confusion_rates(np.eye(2), "mcc")


# corrected resampled t-test


@pytest.mark.parametrize("size", [2, 5, 25])
@pytest.mark.parametrize("share", [0.0, 0.25, 1 / 3])
def test_corrected_t_is_nadeaus_and_bengios(size, share):
    values = drawn(size).tolist()
    found = corrected_t_test(values, share)
    variance = (1 / size + share) * statistics.variance(values)
    t = statistics.mean(values) / math.sqrt(variance)
    freedom = size - 1
    p = float(special.betainc(freedom / 2, 0.5, freedom / (freedom + t * t)))
    assert found.difference == pytest.approx(statistics.mean(values))
    assert found.p == pytest.approx(p, rel=1e-9)
    half = special.stdtrit(freedom, 0.975) * math.sqrt(variance)
    assert found.high - found.low == pytest.approx(2 * half)
    assert found.high + found.low == pytest.approx(2 * found.difference)


def test_without_correction_it_is_the_paired_t_test():
    first, second = drawn(25, 1), drawn(25, 2)
    found = corrected_t_test(first - second, 0)
    wanted = stats.ttest_rel(first, second)
    assert found.p == pytest.approx(wanted.pvalue)
    assert [found.low, found.high] == pytest.approx(list(wanted.confidence_interval()))


def test_corrected_t_of_equal_differences():
    assert corrected_t_test([0.0] * 5, 0.25) == (0.0, 0.0, 0.0, 1.0)
    same = corrected_t_test([0.1 + 0.2, 0.3, 0.3], 0.25)  # but for rounding
    assert same == (pytest.approx(0.3), None, None, 1.0)
    with pytest.raises(ValueError, match="two differences are needed"):
        corrected_t_test([1.0], 0.25)


# sign flips


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_are_all_counted(seed):
    values = np.round(drawn(SPEAKERS, seed, 0.8), 1)  # with ties
    values[0] = 0.0
    flipped = [np.dot(signs, values) for signs in product((1, -1), repeat=SPEAKERS)]
    as_far = sum(abs(each) > abs(values.sum()) - 1e-9 for each in flipped)
    found = sign_flip_test(values)
    assert found.p == as_far / 2**SPEAKERS
    second = stats.permutation_test(
        (values,),
        np.sum,
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert found.p == pytest.approx(second.pvalue, abs=1e-12)
    assert found.difference == pytest.approx(values.mean())


def test_random_sign_flips_are_near_the_exact_share():
    values = np.random.default_rng(3).integers(-3, 8, 25)
    ways = {0: 1}  # of reaching each sum
    for value in values.tolist():
        after: dict[int, int] = {}
        for total, count in ways.items():
            for sign in (1, -1):
                key = total + sign * value
                after[key] = after.get(key, 0) + count
        ways = after
    as_far = sum(n for total, n in ways.items() if abs(total) >= abs(values.sum()))
    exact = float(Fraction(as_far, 2**25))
    found = sign_flip_test(values.tolist()).p
    assert 0.001 < exact < 0.2
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact / RANDOM_FLIPS))


@pytest.mark.parametrize("size", [1, 2, 10, 20, 30])
def test_smallest_p_of_sign_flips(size):
    assert sign_flip_test([1.0] * size).p == pytest.approx(smallest_p(size), abs=1e-6)
    assert sign_flip_test([0.0] * size).p == 1.0


# bootstrap


def plain_rate(matrices: list[list[list[int]]], rate: str) -> float:
    """Score the sum of some matrices, in plain Python."""
    size = range(4)
    sums = [[sum(one[row][k] for one in matrices) for k in size] for row in size]
    truth = [sum(row) for row in sums]
    if rate == "wa":
        return 100 * sum(sums[k][k] for k in size) / sum(truth)
    each = []
    for k in size:
        if truth[k]:
            under = truth[k]
            if rate == "macro_f1":
                under = (truth[k] + sum(row[k] for row in sums)) / 2
            each.append(sums[k][k] / under)
    return 100 * statistics.mean(each)


@pytest.mark.parametrize("rate", COMPARABLE)
def test_bootstrap_is_that_of_the_confidence_intervals_package(rate):
    first, second = confusions(1), confusions(2)
    second[0, :5, np.arange(4), (np.arange(4) + 1) % 4] += 6  # worse for some

    def difference(speakers):
        return statistics.mean(
            plain_rate([one[k] for k in speakers], rate)
            - plain_rate([other[k] for k in speakers], rate)
            for one, other in zip(first.tolist(), second.tolist(), strict=True)
        )

    wider = math.sqrt(10 / 9) * stats.t.ppf(0.025, 9)  # expanded percentiles
    middle, (low, high) = evaluate_with_conf_int(
        np.arange(SPEAKERS),
        difference,
        num_bootstraps=1500,
        alpha=200 * stats.norm.cdf(wider),
    )
    found = speaker_bootstrap(first, second, rate)
    assert found.difference == pytest.approx(middle)
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))


def test_p_of_the_bootstrap_is_where_its_interval_ends_at_nothing():
    right = np.array([410, 385, 532, 461, 523, 597, 430, 488, 519, 493])
    first = np.zeros((1, SPEAKERS, 2, 2), int)
    first[0, :, 0, 0], first[0, :, 0, 1] = right, 1000 - right
    for others in (455, 440, 500):
        second = np.zeros_like(first)
        second[0, :, 0, 0], second[0, :, 0, 1] = others, 1000 - others
        found = speaker_bootstrap(first, second, "wa")
        values = bootstrap(lambda t, each=right - others: t @ each / 100, SPEAKERS)
        low, high = expanded_interval(values, SPEAKERS, 1 - found.p)
        end = low if found.difference > 0 else high
        assert end == pytest.approx(0, abs=0.01 * (high - low))
        # Student's, with which the expanded interval agrees for a mean
        student = stats.ttest_1samp(right - others, 0).pvalue
        assert found.p == pytest.approx(student, rel=0.15)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_bootstrap_of_the_same_and_of_few():
    counts = confusions(1)
    assert speaker_bootstrap(counts, counts, "ua") == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"5 speakers are needed \(got 4\)"):
        speaker_bootstrap(counts[:, :4], counts[:, :4], "wa")


def test_more_seeds_of_one_system_are_averaged():
    counts, other = confusions(1), confusions(2)
    twice = np.concatenate([counts, counts])
    once = speaker_bootstrap(counts, other, "ua")
    assert speaker_bootstrap(twice, other, "ua") == pytest.approx(once)


# several


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels_and_of_a_loop(seed):
    values = np.round(np.random.default_rng(seed).random(7) ** 3, 2).tolist()
    wanted, largest = [0.0] * 7, 0.0
    for rank, index in enumerate(sorted(range(7), key=values.__getitem__)):
        largest = max(largest, (7 - rank) * values[index])
        wanted[index] = min(1.0, largest)
    assert holm(values) == pytest.approx(wanted)
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_holm_of_one_and_none():
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_swapped_systems_mirror_every_estimate():
    first, second = confusions(1), confusions(2)
    for size in (SPEAKERS, 30):
        values = drawn(size)
        for test in (sign_flip_test, lambda x: corrected_t_test(x, 0.3)):
            one, other = test(values), test(-values)
            assert one.p == pytest.approx(other.p)
            assert one.difference == pytest.approx(-other.difference)
            if one.low is not None:
                assert [one.low, one.high] == pytest.approx([-other.high, -other.low])
    one, other = (
        speaker_bootstrap(first, second, "macro_f1"),
        speaker_bootstrap(second, first, "macro_f1"),
    )
    assert one == pytest.approx([-other[0], -other[2], -other[1], other[3]])


def test_the_order_of_speakers_folds_and_seeds_does_not_matter():
    for size in (SPEAKERS, 30):
        values = drawn(size)
        mixed = np.random.default_rng(1).permutation(values)
        assert sign_flip_test(mixed).p == sign_flip_test(values).p
        one, other = corrected_t_test(values, 0.3), corrected_t_test(mixed, 0.3)
        assert one == pytest.approx(other)


# false alarms


def test_simulated_systems_have_the_shape_that_is_said():
    generator = np.random.default_rng(0)
    scenario = false_alarms.Scenario(0.0, 0.0, 0.0)
    null = false_alarms.simulate(scenario, 36, 2, generator=generator)
    assert null.counts.shape == (2, 2, 5, SPEAKERS, 2, 2)
    tested = null.counts.sum(axis=(0, 1, 4, 5))  # (folds, speakers)
    wanted = 4 * 36 * np.kron(np.eye(5, dtype=int), [[1, 1]])
    assert tested.tolist() == wanted.tolist()
    right = null.counts[..., 0, 0].sum(axis=(2, 3))
    assert (null.only[:, 0] - null.only[:, 1]).tolist() == (
        right[0] - right[1]
    ).tolist()


def test_training_sets_that_share_speakers_agree():
    generator = np.random.default_rng(0)
    scenario = false_alarms.Scenario(0.0, 3.0, 0.0)
    rates = []
    for _ in range(300):
        counts = false_alarms.simulate(scenario, 36, 1, generator=generator).counts
        rates.append(confusion_rates(counts.sum(axis=3), "wa")[:, 0])
    first, second = np.moveaxis(np.array(rates), 1, 0)
    correlation = np.corrcoef((first - second).T)
    # two of three pairs of training speakers with the next fold, one with the others
    near = np.mean([correlation[k, (k + 1) % 5] for k in range(5)])
    far = np.mean([correlation[k, (k + 2) % 5] for k in range(5)])
    assert near == pytest.approx(2 / 3, abs=0.1)
    assert far == pytest.approx(1 / 3, abs=0.1)


def test_false_alarms_are_those_of_the_tests_that_compare_uses():
    generator = np.random.default_rng(5)
    scenario = false_alarms.SCENARIOS["speakers"]
    for shift in (0.0, 0.5, 2.0):
        null = false_alarms.simulate(scenario, 36, 2, shift, generator=generator)
        found = false_alarms.judge(null, 1 / 3)
        speakers = null.counts.sum(axis=2)
        p = speaker_bootstrap(*speakers, "wa").p
        assert found["bootstrap, expanded"] == (p < 0.05)
        each = confusion_rates(speakers, "wa").mean(axis=1)
        assert found["sign flips"] == (sign_flip_test(each[0] - each[1]).p < 0.05)
        exact = stats.binomtest(int(null.only[0, 0]), int(null.only[0].sum())).pvalue
        assert found["McNemar, one seed"] == (exact < 0.05)
    assert all(found.values())


def test_real_seeds_are_compared_pair_by_pair(tmp_path):
    for seed in range(11):
        make_system(tmp_path / f"mean/seed_{seed}", 0.6, seed=seed)
    one, five = false_alarms.real(tmp_path, 7)
    assert [one["comparisons"], five["comparisons"]] == [55, 7]
    assert [one["seeds"], five["seeds"]] == [1, 5]
    assert one["clips"] == "240 clips"
    assert one["std_difference"] > five["std_difference"] > 0
    for row in (one, five):
        assert row["percent"].keys() == set(false_alarms.TESTS)
        for share, low, high in row["percent"].values():
            assert low - 1e-9 <= share <= high + 1e-9
    assert one["percent"]["corrected t"][0] < 20
