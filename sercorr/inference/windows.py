"""Windows over a stream of samples, and the level of what is in them."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError

LONGEST = 120.0
"""Most seconds that are classified as one clip: attention over more takes gigabytes."""

SILENCE = -80.0
"""Level in dB of full scale (RMS) under which there is nothing to hear."""


def window_samples(
    window: float | None, hop: float | None, minimum: int
) -> tuple[int, int]:
    """Check a window and its hop, both in seconds, and count their samples at 16 kHz.

    Arguments
    ---------
    window, hop : float or None
        ``hop`` None: as long as the window.
    minimum : int
        Samples that a model needs.

    Raises
    ------
    InputError
        There is a hop but no window, one of them is too short, the window is longer
        than two minutes, or the hop than the window, which would leave samples out.

    Example
    -------
    >>> window_samples(4.0, 1.0, minimum=400)
    (64000, 16000)
    """
    if window is None:
        raise InputError(f"hop is {hop}, but there is no window: give a window, too")
    hop = window if hop is None else hop
    least = minimum / SAMPLE_RATE
    if not least <= window <= LONGEST:
        raise InputError(
            f"window is {window} s; it must be between {least} and {LONGEST:.0f} s"
        )
    if not 0.01 <= hop <= window:
        raise InputError(
            f"hop is {hop} s; it must be at least 0.01 s and at most the window, "
            f"{window} s, so that all samples are heard"
        )
    return round(window * SAMPLE_RATE), round(hop * SAMPLE_RATE)


def require_gate(silence: float | None) -> None:
    """Refuse a gate that leaves out everything; it is in dB of full scale."""
    if silence is not None and not silence < 0:
        raise InputError(
            f"silence is {silence} dB; full scale is 0 dB: give a level below it, such "
            "as -50"
        )


def cut_windows(
    blocks: Iterable[np.ndarray], window: int, hop: int, minimum: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a stream into overlapping windows that cover all of it.

    Windows begin at 0, ``hop``, 2 ``hop``, ... until one reaches the end; the last is
    cut there. A rest of less than ``minimum`` samples belongs to the window before it,
    so that a window is given as soon as ``minimum`` samples behind it are there.

    Arguments
    ---------
    blocks : iterable of numpy.ndarray
        (n_i,) each, of any length.
    window, hop, minimum : int
        Samples; see `window_samples`.

    Yields
    ------
    tuple
        Index of the first sample, and the samples (n,). A stream shorter than
        ``minimum`` is one window.

    Example
    -------
    >>> blocks = [np.arange(4), np.arange(4, 11)]
    >>> [(start, len(w)) for start, w in cut_windows(blocks, 4, 3, minimum=2)]
    [(0, 4), (3, 4), (6, 5)]
    """
    start, held = 0, np.empty(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else np.asarray(block)
        while len(held) >= window + minimum:
            yield start, held[:window].copy()
            start, held = start + hop, held[hop:]
    if len(held):
        yield start, held.copy()


def level(samples: np.ndarray) -> float:
    """Say how loud samples (N,) are: RMS in dB of full scale; -inf for zeros.

    Example
    -------
    >>> round(level(np.full(100, 0.1)), 3), level(np.zeros(3))
    (-20.0, -inf)
    """
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0
    return 10 * math.log10(power) if power > 0 else -math.inf
