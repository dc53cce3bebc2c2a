"""Raters' votes in a table: columns ``votes_<label>`` with counts or shares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sercorr.corpora.rows import Row, prefixed_columns, read_number
from sercorr.data.utterances import Utterance

PREFIX = "votes_"
"""Before the label in the name of a column, however it is capitalised."""

_ROUNDED = 1e-6  # between shares that were equal before they were written
_SUM = 5e-3  # how far each share may be rounded, where they must have a sum of 1


def vote_columns(source: str, columns: Iterable[str]) -> dict[str, str]:
    """Find the columns of votes: label -> column; ``source`` is for messages.

    Example
    -------
    >>> vote_columns("a.csv", ["file", "votes_hap", "Votes_sad"])
    {'hap': 'votes_hap', 'sad': 'Votes_sad'}
    """
    return prefixed_columns(source, columns, PREFIX, "votes for")


def read_votes(row: Row, columns: Mapping[str, str]) -> list[float] | None:
    """Read the votes of a row, 0 for an empty cell; None where all are empty or 0.

    A ValueError says which is no number, or below 0.
    """
    found = []
    for column in columns.values():
        cell = row.text(column)
        try:
            value = read_number(cell) if cell else 0.0
        except ValueError as error:
            raise ValueError(f"{column} is {error}") from None
        if value < 0:
            raise ValueError(f"{column} is {cell}; it must be 0 or more")
        found.append(value)
    return found if any(found) else None


def find_smoothing(votes: np.ndarray) -> float:
    """Find how much label smoothing has added to the share of every class.

    Smoothing by ``a`` makes ``(1 - a) share + a / K`` of each of K shares: no share is
    0 any more, and where a class had no vote it is ``a / K``, the least of all. So it
    is taken for granted where all shares are positive, each row sums to 1, and at least
    half of the rows have the same smallest share. It is not where ``a`` would be above
    a half, nor with two classes, where raters who always disagree look the same. Of
    shares that no rater gave, such as a model's, the smallest differ: they are kept.

    Arguments
    ---------
    votes : numpy.ndarray
        (N, K), one row for each clip, all columns of the table.

    Returns
    -------
    float
        ``a / K``, or 0 where the votes are not smoothed or it cannot be told.

    Example
    -------
    >>> shares = np.array([[1, 0, 0], [0.4, 0.6, 0], [0.2, 0.2, 0.6]])
    >>> round(find_smoothing(0.9 * shares + 0.1 / 3), 4), find_smoothing(shares)
    (0.0333, 0.0)
    """
    classes = votes.shape[1] if len(votes) else 0
    if classes < 3 or (abs(votes.sum(1) - 1) > _SUM * classes).any():
        return 0.0
    smallest = votes.min(1)
    least = float(smallest.min())
    common = (smallest < least + _ROUNDED).mean() >= 0.5
    return least if common and classes * least <= 0.5 else 0.0


def undo_smoothing(votes: np.ndarray, least: float) -> np.ndarray:
    """Return the shares before ``least`` was added to each, as `find_smoothing` has it.

    Example
    -------
    >>> undo_smoothing(np.array([[0.7, 0.2, 0.1]]), 0.1).round(6)
    array([[0.857143, 0.142857, 0.      ]])
    """
    shares = (votes - least) / (1 - votes.shape[1] * least)
    return np.where(votes < least + _ROUNDED, 0.0, shares)


def add_votes(
    clips: Sequence[Utterance],
    votes: Mapping[str, Sequence[float]],
    classes: Sequence[str | None],
) -> tuple[list[Utterance], list[str]]:
    """Give each clip its votes for each class, smoothing undone; and say what was done.

    Arguments
    ---------
    clips : sequence of Utterance
        Of a table.
    votes : mapping
        Id -> a number for each column.
    classes : sequence of str or None
        The class of each column; those of one class are added, None is left out.

    Returns
    -------
    clips : list of Utterance
        ``vote_counts`` has the classes that somebody voted for.
    notes : list of str
        For `sercorr.data.utterances.Corpus`.
    """
    notes = []
    table = np.array(list(votes.values()), dtype=float).reshape(
        len(votes), len(classes)
    )
    if least := find_smoothing(table):
        table = undo_smoothing(table, least)
        notes.append(
            f"label smoothing of the votes was undone: it had added {least:.4g} to the "
            f"share of each of {len(classes)} labels"
        )
    counts: dict[str, dict[str, float]] = {}
    for key, row in zip(votes, table.tolist(), strict=True):
        of_class = counts.setdefault(key, {})
        for name, value in zip(classes, row, strict=True):
            if name is not None and value:
                of_class[name] = of_class.get(name, 0.0) + value
    used = {clip.emotion for clip in clips if clip.emotion}
    if missing := sorted(used - set(classes)):
        others = sorted({name for name in classes if name} - used)
        notes.append(
            f"no column has votes for {', '.join(missing)}: they have none"
            + f" (there are votes for {', '.join(others)}, which no clip is)"
            * bool(others)
        )
    voted = [
        replace(c, vote_counts=counts[c.id]) if counts.get(c.id) else c for c in clips
    ]
    return voted, notes
