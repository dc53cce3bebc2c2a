"""How far a classifier's answers are those of the raters, beside being right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sercorr.data.vote_shares import vote_shares

AGREEMENT = {"kl": "KL, nats", "top2": "top-2 %"}
"""Key below ``agreement`` in ``metrics.json`` -> heading in tables."""

_SMALLEST = np.finfo(np.float64).tiny  # a probability of 0 would make the mean infinite
_TIE = 1e-9  # shares of a vote, such as three thirds, are rounded


def rater_agreement(
    vote_counts: Sequence[Mapping[str, float] | None],
    probabilities: np.ndarray,
    labels: Sequence[str],
) -> dict[str, Any] | None:
    """Compare predicted probabilities with the raters' votes.

    Arguments
    ---------
    vote_counts : sequence of mapping or None
        Of each clip, class -> votes for it. Votes for classes that are not among the
        labels do not count, and neither does a clip that has no others.
    probabilities : numpy.ndarray
        (clips, K), one column per label.
    labels : sequence of str
        The K classes.

    Returns
    -------
    dict or None
        ``n``: clips that count. ``kl``: mean of KL(votes || probabilities), in nats;
        0 where both are the same. ``top2``: percentage of clips whose predicted class
        is one of the two that most raters chose, or has as many votes as the second of
        them; a class without a vote is none of them. None where no clip counts.

    Example
    -------
    >>> votes = [{"sad": 3, "neu": 1}, {"sad": 2}, {"fru": 3}]
    >>> p = np.array([[0.75, 0.25], [0.5, 0.5], [0.5, 0.5]])
    >>> found = rater_agreement(votes, p, ["neu", "sad"])
    >>> found["n"], round(found["kl"], 4), found["top2"]
    (2, 0.6212, 50.0)
    """
    shares = [vote_shares(votes, labels) for votes in vote_counts]
    rows = [row for row, share in enumerate(shares) if share is not None]
    if not rows:
        return None
    votes = np.array([shares[row] for row in rows])
    predicted = np.asarray(probabilities, dtype=np.float64)[rows]
    # 0 log 0 = 0: a class without votes adds nothing
    ratio = np.where(votes > 0, votes, 1) / np.maximum(predicted, _SMALLEST)
    kl = np.sum(votes * np.log(ratio), axis=1)
    second = np.sort(votes, axis=1)[:, -2]
    answer = votes[np.arange(len(rows)), predicted.argmax(axis=1)]
    among = (answer > 0) & (answer >= second - _TIE)
    return {
        "n": len(rows),
        "kl": float(kl.mean()),
        "top2": 100.0 * float(among.mean()),
    }
