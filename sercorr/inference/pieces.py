"""What is read of the inputs: clips, whole or cut into windows, and what is wrong."""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_blocks, read_header, read_samples
from sercorr.data.resampling import Resampler, resample
from sercorr.errors import InputError
from sercorr.inference.prediction import Segment
from sercorr.inference.windows import LONGEST, SILENCE, cut_windows, level

logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """A clip to answer, or what is wrong with it.

    ``start`` and ``end`` are seconds from the beginning of the file, whose name is
    None for samples; ``source`` is the input as it was given.
    """

    source: Any
    file: str | None
    start: float
    end: float
    samples: np.ndarray
    error: InputError | None = None


def read_pieces(
    inputs: Any, window_hop: tuple[int, int] | None, minimum: int
) -> Iterator[Piece]:
    """Read inputs of `Predictor.predict`, each when it is needed.

    Arguments
    ---------
    inputs : object
        One input, or an iterable of them.
    window_hop : tuple of int, or None
        Samples of a window and from one to the next; None: whole clips.
    minimum : int
        Samples that a model needs.

    Yields
    ------
    Piece
        In the order of the inputs; for a bad one, its error.
    """
    each = _each_input(inputs)
    pieces = _read_each(each, window_hop, minimum)
    # someone's own generator stays in its own thread
    return _read_ahead(pieces) if isinstance(each, Sequence) else pieces


def read_whole(source: Any, minimum: int) -> Piece:
    """Read one input as one clip."""
    file = _file_of(source)
    if file is None:
        samples, seconds = _signal(source)
        start, end = 0.0, seconds
        _require_short_enough("the signal", seconds)
    else:
        start, last = _bounds(source)
        end = read_header(file).seconds if last is None else last
        _require_short_enough(file, end - start)
        samples = read_samples(file, start, last)
    _require_long_enough(file, samples, minimum)
    _warn_of_silence(file, level(samples))
    return Piece(source, file, start, end, samples)


def read_stream(
    blocks: Iterable[Any], rate: int, window: int, hop: int, minimum: int
) -> Iterator[Piece]:
    """Cut a live signal into windows, each given as soon as it is there."""
    resampler = Resampler(rate)

    def resampled() -> Iterator[np.ndarray]:
        for block in blocks:
            yield resampler.push(mono(block))
        yield resampler.finish()

    for first, wave in cut_windows(resampled(), window, hop, minimum):
        _require_long_enough(None, wave, minimum)
        end = (first + len(wave)) / SAMPLE_RATE
        yield Piece(None, None, first / SAMPLE_RATE, end, wave)


def mono(signal: Any) -> np.ndarray:
    """Turn an array or tensor (N,) or (N, channels) into (N,) float32.

    Raises
    ------
    InputError
        It has another shape, integers, or samples that are not finite.

    Example
    -------
    >>> mono([[0.25, 0.75], [0.5, 0.5]])
    array([0.5, 0.5], dtype=float32)
    """
    samples = np.asarray(signal.detach().cpu() if hasattr(signal, "detach") else signal)
    if samples.dtype.kind != "f":
        raise InputError(
            f"the signal has the type {samples.dtype}; give floating point samples "
            "between -1 and 1, as soundfile reads them"
        )
    if samples.ndim not in (1, 2) or samples.shape[1:] > (64,):
        raise InputError(
            f"the signal has the shape {samples.shape}; give (samples,) or (samples, "
            "channels)"
        )
    with np.errstate(over="ignore"):  # what is not finite is reported
        samples = samples.astype(np.float32)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if not np.isfinite(samples).all():
        raise InputError("the signal has samples that are not finite (NaN or infinity)")
    return samples


def _read_each(
    inputs: Iterable[Any], window_hop: tuple[int, int] | None, minimum: int
) -> Iterator[Piece]:
    for source in inputs:
        try:
            if window_hop is None:
                yield read_whole(source, minimum)
            else:
                yield from _read_windows(source, *window_hop, minimum)
        except InputError as error:
            file = _file_of(source)
            yield Piece(source, file, 0.0, 0.0, np.empty(0, np.float32), error)


def _read_windows(source: Any, window: int, hop: int, minimum: int) -> Iterator[Piece]:
    file = _file_of(source)
    if file is None:
        samples, seconds = _signal(source)
        start, blocks = 0.0, iter([samples])
    else:
        start, last = _bounds(source)
        blocks = read_blocks(file, start=start, end=last)
        seconds = (read_header(file).seconds if last is None else last) - start
    loudest = -math.inf
    for first, wave in cut_windows(blocks, window, hop, minimum):
        _require_long_enough(file, wave, minimum)
        loudest = max(loudest, level(wave))
        # the resampled end of a file lies up to a sample behind its own
        end = min((first + len(wave)) / SAMPLE_RATE, seconds)
        yield Piece(source, file, start + first / SAMPLE_RATE, start + end, wave)
    _warn_of_silence(file, loudest)


def _signal(source: Any) -> tuple[np.ndarray, float]:
    """Bring samples to 16 kHz, mono; their duration in seconds."""
    if isinstance(source, tuple) and len(source) != 2:
        raise InputError(
            f"an input is a tuple of {len(source)}; give (signal, rate), or "
            "Segment(file, start, end)"
        )
    signal, rate = source if isinstance(source, tuple) else (source, SAMPLE_RATE)
    samples = mono(signal)
    return resample(samples, rate), len(samples) / rate


def _each_input(inputs: Any) -> Iterable[Any]:
    """Make one input a list of one."""
    pair = (
        isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], Real)
    )
    single = isinstance(inputs, (str, os.PathLike, Segment)) or pair
    return [inputs] if single or hasattr(inputs, "ndim") else inputs


def _file_of(source: Any) -> str | None:
    if isinstance(source, Segment):
        return os.fspath(source.file)
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


def _bounds(source: Any) -> tuple[float, float | None]:
    return (source.start, source.end) if isinstance(source, Segment) else (0.0, None)


def _require_short_enough(file: str, seconds: float) -> None:
    if seconds > LONGEST:
        raise InputError(
            f"{file}: too long to be one clip: {seconds:.1f} s (at most "
            f"{LONGEST:.0f}); classify it in windows: --window 4 --hop 1, or window=4, "
            "hop=1"
        )


def _require_long_enough(file: str | None, wave: np.ndarray, minimum: int) -> None:
    if len(wave) < minimum:
        raise InputError(
            f"{file or 'the signal'}: too short: {len(wave)} samples at "
            f"{SAMPLE_RATE} Hz, but {minimum} are needed; leave it out"
        )


def _warn_of_silence(file: str | None, loudness: float) -> None:
    if loudness < SILENCE:
        logger.warning(
            "%s: silent (%.0f dB); its label says nothing",
            file or "the signal",
            loudness,
        )


def _read_ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Read the next piece while this one is computed."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = pool.submit(next, pieces, None)
            yield piece
