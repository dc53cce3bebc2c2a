"""How far the raters of a corpus agree, with one another and with its labels."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sercorr.data.utterances import Utterance

Ratings = Sequence[Mapping[str, float]]
"""The raters of one clip: each one's categories, with shares that sum to 1."""


def fleiss_kappa(clips: Sequence[Ratings]) -> float | None:
    """Compute Fleiss' kappa, for any number of raters per clip.

    The agreement of a clip with n raters is the share of their n (n - 1) pairs that
    agree, averaged over the clips with two or more raters; chance is the sum of p_j
    squared, where p_j is the mean over the clips of the share of category j. With
    equal numbers this is Fleiss (1971); with unequal ones it is the generalisation in
    Gwet's Handbook of Inter-Rater Reliability (2014). Two raters who share their vote
    between categories agree by the sum of the products of their shares.

    Arguments
    ---------
    clips : sequence
        Of each clip, the `Ratings`. Clips without any are left out.

    Returns
    -------
    float or None
        1 is full agreement, 0 is chance; None where no clip has two raters, or where
        all votes are for one category.

    Example
    -------
    >>> sad, glad = {"sad": 1}, {"glad": 1}
    >>> fleiss_kappa([[sad, sad], [glad, glad], [sad, glad], [glad, sad]])
    0.0
    """
    shares: dict[str, float] = defaultdict(float)
    agreements = []
    rated = 0
    for raters in clips:
        if not raters:
            continue
        rated += 1
        number = len(raters)
        totals: dict[str, float] = defaultdict(float)
        alone = 0.0  # what pairs of a rater with himself would add
        for rater in raters:
            for category, share in rater.items():
                totals[category] += share
                alone += share * share
        for category, total in totals.items():
            shares[category] += total / number
        if number > 1:
            pairs = sum(total * total for total in totals.values()) - alone
            agreements.append(pairs / (number * (number - 1)))
    if not agreements:
        return None
    chance = sum((share / rated) ** 2 for share in shares.values())
    if chance > 1 - 1e-12:
        return None
    return (sum(agreements) / len(agreements) - chance) / (1 - chance)


def summarise_votes(clips: Sequence[Utterance]) -> dict[str, Any] | None:
    """Describe the raters' votes, of the clips that have any.

    Returns
    -------
    dict or None
        ``clips`` (with votes), ``votes_per_clip`` (mean; None where only shares are
        known), ``majority_share`` (mean share of a clip's votes that the most
        frequent class has), ``kappa`` (see `fleiss_kappa`; over raters' own categories
        where the clips have them, else over classes; None where only shares are
        known), and how many labels are what most raters chose: ``label_first``,
        ``label_tied`` (with another class), ``label_not_first``. None without votes.

    Example
    -------
    >>> counts = {"sad": 3, "neu": 1}
    >>> clip = Utterance("a", "a.wav", "neu", "Ann", 1, vote_counts=counts)
    >>> found = summarise_votes([clip])
    >>> found["majority_share"], found["label_not_first"]
    (0.75, 1)
    """
    voted = [clip for clip in clips if sum((clip.vote_counts or {}).values()) > 0]
    if not voted:
        return None
    labels: Counter[str] = Counter()
    majority = 0.0
    for clip in voted:
        counts = clip.vote_counts or {}
        most = max(counts.values())
        majority += most / sum(counts.values())
        first = [name for name, count in counts.items() if count == most]
        if clip.emotion not in first:
            labels["label_not_first"] += 1
        else:
            labels["label_tied" if len(first) > 1 else "label_first"] += 1
    ratings = [_ratings(clip) for clip in voted]
    known = [raters for raters in ratings if raters is not None]
    whole = len(known) == len(voted)
    return {
        "clips": len(voted),
        "votes_per_clip": sum(map(len, known)) / len(voted) if whole else None,
        "majority_share": majority / len(voted),
        "kappa": fleiss_kappa(known) if whole else None,
        "label_first": labels["label_first"],
        "label_tied": labels["label_tied"],
        "label_not_first": labels["label_not_first"],
    }


def _ratings(clip: Utterance) -> Ratings | None:
    """Return one mapping per rater; None where only shares of the votes are known."""
    if clip.votes:
        chosen = [sorted(set(categories)) for categories in clip.votes if categories]
        return [dict.fromkeys(names, 1 / len(names)) for names in chosen]
    counts = clip.vote_counts or {}
    if any(count != round(count) for count in counts.values()):
        return None
    return [{name: 1.0} for name, count in counts.items() for _ in range(round(count))]
