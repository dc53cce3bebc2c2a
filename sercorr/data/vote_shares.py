"""The raters' votes for a clip as a distribution over the classes that are used."""

from collections.abc import Mapping, Sequence
from typing import Any


def vote_shares(
    vote_counts: Mapping[str, float] | None, labels: Sequence[str]
) -> list[float] | None:
    """Turn votes into a distribution over some classes.

    Arguments
    ---------
    vote_counts : mapping or None
        Class -> votes for it, or their share; a class that is not in it has none.
    labels : sequence of str
        The K classes. Votes for others do not count.

    Returns
    -------
    list of float or None
        K shares whose sum is 1; None where there is no vote for any of the classes.

    Example
    -------
    >>> vote_shares({"sad": 1.5, "hap": 0.5, "fru": 1}, ["neu", "hap", "sad"])
    [0.0, 0.25, 0.75]
    >>> vote_shares({"fru": 3}, ["neu", "hap", "sad"])
    """
    counts = [float((vote_counts or {}).get(label, 0)) for label in labels]
    total = sum(counts)
    return [count / total for count in counts] if total > 0 else None


def target_shares(
    emotion: str, vote_counts: Mapping[str, float] | None, labels: Sequence[str]
) -> list[float]:
    """Give a clip's `vote_shares`; where there are none, all to its label.

    Example
    -------
    >>> target_shares("sad", {"fru": 3}, ["neu", "hap", "sad"])
    [0.0, 0.0, 1.0]
    """
    shares = vote_shares(vote_counts, labels)
    return shares or [float(label == emotion) for label in labels]


def count_unvoted(
    manifest: Mapping[str, Mapping[str, Any]], labels: Sequence[str]
) -> int:
    """Count the entries of a manifest without a vote for any of the labels."""
    entries = manifest.values()
    return sum(
        vote_shares(entry.get("vote_counts"), labels) is None for entry in entries
    )
