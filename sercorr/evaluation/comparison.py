"""Is a difference between two systems real? The statistics behind ``sercorr compare``.

Differences are in points of a rate in percent, first system less second.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from sercorr.evaluation.intervals import FEWEST, bootstrap, expanded_interval

CONFIDENCE = 0.95
EXACT_SPEAKERS = 20
"""Up to so many speakers, all sign flips are counted (2^20 are a million)."""
RANDOM_FLIPS = 99_999
"""Are drawn for more speakers."""

_SEED = 1234  # of the draws: the same results give the same numbers
_TINY = 1e-9  # points; differences of rates are sums of floats


class Estimate(NamedTuple):
    """A difference, its 95 % confidence interval (None: there is none) and its p."""

    difference: float
    low: float | None
    high: float | None
    p: float


def confusion_rates(confusions: np.ndarray, rate: str) -> np.ndarray:
    """Score many confusion matrices at once.

    Arguments
    ---------
    confusions : numpy.ndarray
        (..., K, K) counts, rows are the truth.
    rate : str
        ``wa``, ``ua`` or ``macro_f1``, as `classification_metrics` defines them: a
        class that does not occur in the truth is left out of the means.

    Returns
    -------
    numpy.ndarray
        (...), in percent; NaN where there is no clip.

    Example
    -------
    >>> confusion = np.array([[2, 1], [0, 1]])
    >>> [round(float(confusion_rates(confusion, r)), 2) for r in COMPARABLE]
    [75.0, 83.33, 73.33]
    """
    right = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
    truth, predicted = confusions.sum(axis=-1), confusions.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        if rate == "wa":
            return 100.0 * right.sum(axis=-1) / truth.sum(axis=-1)
        if rate == "ua":
            each = right / truth
        elif rate == "macro_f1":
            each = 2.0 * right / (truth + predicted)
        else:
            raise ValueError(f"rate is {rate!r}; it must be one of {COMPARABLE}")
        present = truth > 0
        return 100.0 * each.sum(axis=-1, where=present) / present.sum(axis=-1)


COMPARABLE = ("wa", "ua", "macro_f1")
"""Rates that `confusion_rates` knows."""


def corrected_t_test(differences: Sequence[float], test_by_train: float) -> Estimate:
    """Test folds x seeds whose training sets overlap: the corrected resampled t-test.

    The mean of the n differences has the variance (1/n + n_test/n_train) s², where s²
    is their sample variance; n - 1 degrees of freedom. Nadeau & Bengio, "Inference for
    the generalization error", Machine Learning 52 (2003), their equation (8);
    Bouckaert & Frank, PAKDD 2004, for repeated cross-validation.

    Arguments
    ---------
    differences : sequence of float
        One per fold and seed; at least two.
    test_by_train : float
        Clips tested by clips trained on, in a fold. 0 is the plain paired t-test.

    Returns
    -------
    Estimate
        p is 1 if all differences are 0. If they are all the same and not 0, there is
        no variance to judge by: p is 1 too, without an interval.

    Example
    -------
    >>> plain = corrected_t_test([1, 2, 3, 4, 5], 0)
    >>> corrected = corrected_t_test([1, 2, 3, 4, 5], 0.25)
    >>> [round(value, 3) for value in plain]
    [3.0, 1.037, 4.963, 0.013]
    >>> [round(value, 3) for value in corrected]
    [3.0, 0.055, 5.945, 0.047]
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size < 2:
        raise ValueError(f"two differences are needed (got {values.size})")
    mean = float(values.mean())
    if np.ptp(values) < _TINY:
        return Estimate(mean, None, None, 1.0) if abs(mean) > _TINY else _SAME
    n = values.size
    error = np.sqrt((1 / n + test_by_train) * values.var(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * error)
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return Estimate(mean, mean - half, mean + half, p)


def speaker_bootstrap(first: np.ndarray, second: np.ndarray, rate: str) -> Estimate:
    """Resample the speakers, each with all clips, of both systems and all seeds.

    The statistic is the difference of the rates over all clips of the drawn speakers;
    the interval is `expanded_interval`'s, since plain percentiles (and BCa) are too
    narrow for few speakers. p is the one at which that interval ends at 0.

    Arguments
    ---------
    first, second : numpy.ndarray
        (seeds, S, K, K): one confusion matrix per seed and speaker, of at least
        `FEWEST` speakers, the same in both; the number of seeds may differ. Rates are
        averaged over the seeds.
    rate : str
        See `confusion_rates`.

    Returns
    -------
    Estimate
        Of the S speakers' clips together.

    Example
    -------
    >>> right, wrong = np.array([[9, 0], [1, 0]]), np.array([[7, 2], [1, 0]])
    >>> first = np.array([[right] * 6])
    >>> second = np.array([[right, wrong, right, wrong, wrong, wrong]])
    >>> [round(value, 3) for value in speaker_bootstrap(first, second, "wa")]
    [13.333, 3.333, 20.0, 0.041]
    """

    def difference(times: np.ndarray) -> np.ndarray:
        return _mean_rates(times, first, rate) - _mean_rates(times, second, rate)

    speakers = first.shape[1]
    drawn = bootstrap(difference, speakers)
    interval = expanded_interval(drawn, speakers)
    if interval is None:
        raise ValueError(f"{FEWEST} speakers are needed (got {speakers})")
    beyond = min((drawn <= _TINY).sum(), (drawn >= -_TINY).sum())
    tail = min(0.5, (1 + int(beyond)) / (1 + drawn.size))  # never 0: one is added
    narrower = np.sqrt((speakers - 1) / speakers)
    p = 2 * stats.t.cdf(narrower * stats.norm.ppf(tail), speakers - 1)
    found = difference(np.ones((1, speakers)))[0]
    return Estimate(float(found), *interval, float(p))


def _mean_rates(times: np.ndarray, confusions: np.ndarray, rate: str) -> np.ndarray:
    """Rate over the clips of speakers drawn so many ``times`` (B, S): (B,)."""
    pooled = np.tensordot(times, confusions.astype(np.float64), axes=(1, 1))
    return confusion_rates(pooled, rate).mean(axis=1)


def sign_flip_test(differences: Sequence[float]) -> Estimate:
    """Test the speakers' differences by flipping their signs (Fisher, 1935).

    If neither system is better, a speaker's difference is as likely as its negative.
    p is the share of all 2^S choices of signs whose sum is as far from 0 as the one
    found. Of more than `EXACT_SPEAKERS` speakers, `RANDOM_FLIPS` choices are drawn, and
    the one found is counted with them (Phipson & Smyth, 2010).

    Arguments
    ---------
    differences : sequence of float
        One per speaker.

    Returns
    -------
    Estimate
        Without an interval. p is never under 2 / 2^S.

    Example
    -------
    >>> sign_flip_test([1.0, 2.0, 3.0, 4.0, 5.0, -0.5]).p
    0.0625
    """
    values = np.asarray(differences, dtype=np.float64)
    exact = values.size <= EXACT_SPEAKERS
    generator = np.random.default_rng(_SEED)
    sums = np.zeros(1 if exact else RANDOM_FLIPS)
    for value in np.sort(np.abs(values)):  # the order of speakers changes no draw
        if exact:
            sums = np.concatenate([sums + value, sums - value])
        else:
            sums += generator.choice((value, -value), size=sums.size)
    as_far = int((np.abs(sums) >= abs(values.sum()) - _TINY * values.size).sum())
    p = as_far / sums.size if exact else (1 + as_far) / (1 + sums.size)
    return Estimate(float(values.mean()), None, None, p)


def smallest_p(speakers: int) -> float:
    """Give the smallest p that `sign_flip_test` can find with so many speakers.

    Example
    -------
    >>> smallest_p(2), smallest_p(10)
    (0.5, 0.001953125)
    """
    return 2 / 2**speakers if speakers <= EXACT_SPEAKERS else 1 / (1 + RANDOM_FLIPS)


def holm(values: Sequence[float]) -> list[float]:
    """Adjust several p for their number (Holm, 1979).

    The smallest of m is multiplied by m, the next by m - 1, ..., none falls below an
    earlier one, none exceeds 1. Claiming what is then under 0.05 makes a single false
    claim, or more, in at most 5 % of such families.

    Example
    -------
    >>> holm([0.25, 0.0625, 0.0625])
    [0.25, 0.1875, 0.1875]
    """
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    raised = np.maximum.accumulate(np.asarray(values, dtype=float)[order] * factors)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted.tolist()


_SAME = Estimate(0.0, 0.0, 0.0, 1.0)
