"""From overlapping windows to a timeline: cells of one hop, and merged neighbours."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from sercorr import SAMPLE_RATE
from sercorr.inference.prediction import Prediction

_TINY = 1e-3  # seconds: under this, two times are the same


class Cell(NamedTuple):
    """A piece of a timeline, in seconds; without label and scores in silence."""

    start: float
    end: float
    label: str | None
    scores: dict[str, float] | None


def tile(
    windows: Iterable[Prediction], hop: float, end: float, start: float = 0.0
) -> Iterator[Cell]:
    """Turn the windows of one file into cells that tile it, without overlap.

    A cell of ``hop`` seconds, in whole samples at 16 kHz as those of the windows, has
    the mean probabilities of the windows that cover it; the last ends at ``end``.

    Arguments
    ---------
    windows : iterable of Prediction
        Of one file, by their beginning, one every ``hop``; some may be left out.
    hop : float
        Seconds from one window to the next.
    end, start : float
        Of the file, or of the part of it that was predicted, in seconds.

    Example
    -------
    >>> a = Prediction(None, 0.0, 2.0, "sad", {"ang": 0.0, "sad": 1.0}, None)
    >>> b = Prediction(None, 1.0, 2.5, "ang", {"ang": 0.8, "sad": 0.2}, None)
    >>> [(cell.start, cell.end, cell.label) for cell in tile([a, b], 1.0, 2.5)]
    [(0.0, 1.0, 'sad'), (1.0, 2.0, 'sad'), (2.0, 2.5, 'ang')]
    """
    coming = iter(windows)
    following = next(coming, None)
    near: deque[Prediction] = deque()
    step = round(hop * SAMPLE_RATE)
    count = math.ceil((end - start - _TINY) * SAMPLE_RATE / step)
    for index in range(max(1, count)):
        first = start + index * step / SAMPLE_RATE
        last = min(start + (index + 1) * step / SAMPLE_RATE, end)
        if end - last < _TINY:
            last = end
        while following is not None and following.start <= first + _TINY:
            near.append(following)
            following = next(coming, None)
        near = deque(window for window in near if window.end >= last - _TINY)
        if not near:
            yield Cell(first, last, None, None)
            continue
        labels = list(near[0].scores)
        rows = np.array([list(window.scores.values()) for window in near])
        mean = rows.mean(axis=0)  # (K,)
        scores = dict(zip(labels, mean.tolist(), strict=True))
        yield Cell(first, last, labels[int(mean.argmax())], scores)


def merge_cells(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Join neighbours of one label; scores are the means over time.

    Example
    -------
    >>> one, two = {"ang": 0.75, "sad": 0.25}, {"ang": 1.0, "sad": 0.0}
    >>> list(merge_cells([Cell(0, 1, "ang", one), Cell(1, 2, "ang", two)]))
    [Cell(start=0, end=2, label='ang', scores={'ang': 0.875, 'sad': 0.125})]
    """
    held: Cell | None = None
    for cell in cells:
        if held is None or held.label != cell.label:
            if held is not None:
                yield held
            held = cell
            continue
        scores = None
        if held.scores is not None and cell.scores is not None:
            before, now = held.end - held.start, cell.end - cell.start
            scores = {
                label: (held.scores[label] * before + cell.scores[label] * now)
                / (before + now)
                for label in held.scores
            }
        held = Cell(held.start, cell.end, cell.label, scores)
    if held is not None:
        yield held
