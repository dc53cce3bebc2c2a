"""Results for groups of the test clips: by speaker, trait, duration, raters' agreement.

Rates are in percent, averaged over the seeds; intervals are over speakers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sercorr.data.utterances import UNKNOWN
from sercorr.evaluation.comparison import confusion_rates
from sercorr.evaluation.intervals import bootstrap, expanded_interval
from sercorr.evaluation.pooled import Pooled, count_confusion
from sercorr.evaluation.predictions import manifest_of
from sercorr.evaluation.runs import Run

NOT_KNOWN = "not known"
"""Group of the clips of which nothing is known; it is compared with nothing."""

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Group:
    """Results of some of the test clips.

    ``ua`` is None where a class does not occur. ``difference``: WA less that of all
    other clips whose group is known, in points; None where there are none. Intervals
    are for 95 %; None where there are too few speakers.
    """

    name: str
    clips: int
    speakers: int
    wa: float
    ua: float | None
    interval: Interval
    difference: float | None
    difference_interval: Interval


def compare_groups(
    pooled: Pooled, names: Sequence[str], order: Sequence[str] | None = None
) -> list[Group]:
    """Score each group of the test clips.

    Arguments
    ---------
    pooled : Pooled
        What was said about the clips, N rows.
    names : sequence of str
        The group of each row; `NOT_KNOWN` where it is in none.
    order : sequence of str, optional
        The groups in the order in which they are given; by name otherwise. Those
        without a clip are left out, and `NOT_KNOWN` is the last.

    Returns
    -------
    list of Group
        Intervals resample speakers, with their clips inside and outside the group.
    """
    member = np.asarray(names, dtype=object)
    found = sorted(set(names) - {NOT_KNOWN}) if order is None else order
    known = member != NOT_KNOWN
    groups = []
    for name in [*found, NOT_KNOWN]:
        inside = member == name
        if inside.any():
            outside = known & ~inside if name != NOT_KNOWN else np.zeros_like(inside)
            groups.append(_score(pooled, str(name), inside, outside))
    return groups


def entries_of(runs: Sequence[Run], pooled: Pooled) -> list[dict[str, Any]]:
    """Give what the test manifests know of each row; empty where there is none."""
    manifests = {
        (seed, fold["fold"]): manifest_of(run, fold["fold"]) or {}
        for seed, run in enumerate(runs)
        for fold in run.metrics
    }
    rows = zip(pooled.seeds.tolist(), pooled.folds.tolist(), pooled.ids, strict=True)
    return [manifests[seed, fold].get(id_, {}) for seed, fold, id_ in rows]


def by_trait(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Group clips by each trait that any of them has: trait -> word of each clip.

    Example
    -------
    >>> by_trait([{"traits": {"style": "scripted"}}, {}])
    {'style': ['scripted', 'not known']}
    """
    traits = [entry.get("traits") or {} for entry in entries]
    return {
        name: [own.get(name, NOT_KNOWN) for own in traits]
        for name in sorted({name for own in traits for name in own})
    }


def by_duration(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Group clips by quarters of the durations, and list the groups, shortest first.

    Example
    -------
    >>> names, order = by_duration([{"duration": s} for s in (1, 2, 3, 4)])
    >>> order
    ['1.00 to 1.75 s', '1.75 to 2.50 s', '2.50 to 3.25 s', '3.25 to 4.00 s']
    >>> names == order
    True
    """
    seconds = np.array([entry.get("duration", np.nan) for entry in entries], float)
    known = seconds[~np.isnan(seconds)]
    if not len(known):
        return [NOT_KNOWN] * len(seconds), []
    edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
    order = [f"{low:.2f} to {high:.2f} s" for low, high in pairwise(edges)]
    order = order or [f"{edges[0]:.2f} s"]
    places = np.maximum(np.searchsorted(edges, seconds, side="left") - 1, 0)
    return [
        NOT_KNOWN if np.isnan(s) else order[place]
        for s, place in zip(seconds, places, strict=True)
    ], order


AGREEMENT_ORDER = ("all agree", "a majority", "no majority")
"""Groups of `by_agreement`."""


def by_agreement(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Group clips by how far their raters agree with one another.

    All of their votes are for one class, or more than half, or less. Votes for classes
    that are not used count, too.

    Example
    -------
    >>> votes = [{"sad": 3}, {"sad": 2, "fru": 1}, {"sad": 1, "neu": 1}, None]
    >>> by_agreement([{"vote_counts": counts} for counts in votes])
    ['all agree', 'a majority', 'no majority', 'not known']
    """
    return [_agreement(entry.get("vote_counts") or {}) for entry in entries]


def _agreement(votes: Mapping[str, float]) -> str:
    total = sum(votes.values())
    if total <= 0:
        return NOT_KNOWN
    share = max(votes.values()) / total
    all_agree, majority, none = AGREEMENT_ORDER
    tie = 1e-9  # shares of a vote, such as three thirds, are rounded
    return all_agree if share > 1 - tie else majority if share > 0.5 + tie else none


def _score(pooled: Pooled, name: str, inside: np.ndarray, outside: np.ndarray) -> Group:
    units, rest = pooled.units, bool(outside.any())
    n_units = int(units.max()) + 1
    own, other = (_rate_of_draws(pooled, units, rows) for rows in (inside, outside))
    everyone = np.ones((1, n_units))
    wa = float(own(everyone)[0])

    def both(drawn: np.ndarray) -> np.ndarray:
        rate = own(drawn)
        return np.stack([rate, rate - other(drawn)], axis=1)

    n_inside = len(np.unique(units[inside]))
    n_outside = len(np.unique(units[outside]))
    draws = bootstrap(both, n_units)
    few = min(n_inside, n_outside)
    return Group(
        name=name,
        clips=len(np.unique(pooled.clips[inside])),
        speakers=len(set(pooled.speakers[inside]) - {UNKNOWN}),
        wa=wa,
        ua=_ua(pooled, inside),
        interval=expanded_interval(draws[:, 0], n_inside),
        difference=wa - float(other(everyone)[0]) if rest else None,
        difference_interval=expanded_interval(draws[:, 1], few) if rest else None,
    )


def _rate_of_draws(
    pooled: Pooled, units: np.ndarray, rows: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """WA of some rows, averaged over the seeds, for units drawn (R, units) -> (R,)."""
    seeds = np.unique(pooled.seeds, return_inverse=True)[1]
    shape = (int(units.max()) + 1, int(seeds.max()) + 1)
    cells = np.ravel_multi_index((units[rows], seeds[rows]), shape)
    size = shape[0] * shape[1]
    right = np.bincount(cells, pooled.right[rows], minlength=size).reshape(shape)
    clips = np.bincount(cells, minlength=size).reshape(shape)

    def rate(drawn: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a draw without a clip of the group
            each = 100.0 * (drawn @ right) / (drawn @ clips)
        there = ~np.isnan(each)
        sums = np.where(there, each, 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return sums / there.sum(axis=1)

    return rate


def _ua(pooled: Pooled, rows: np.ndarray) -> float | None:
    """UA of some rows, averaged over the seeds; None where one lacks a class."""
    rates, size = [], len(pooled.labels)
    for seed in np.unique(pooled.seeds[rows]):
        own = rows & (pooled.seeds == seed)
        confusion = count_confusion(pooled.truth[own], pooled.prediction[own], size)
        if not confusion.any(axis=1).all():
            return None
        rates.append(float(confusion_rates(confusion, "ua")))
    return float(np.mean(rates))
