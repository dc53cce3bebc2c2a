"""From any sampling rate to 16 kHz, at once or block by block.

The filter is the default of ``torchaudio.functional.resample``. scipy.signal takes
most of a second to import, so that is left to the first signal at another rate.
"""

import math

import numpy as np

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError

RATES = range(1_000, 768_001)
"""Sampling rates in hertz that are resampled; others come from damaged headers."""

_ZERO_CROSSINGS = 6  # of the sinc, on either side, that the window lets through
_ROLLOFF = 0.99  # the cutoff, as a part of the lower of the two Nyquist frequencies


class Resampler:
    """Resample a signal that comes in blocks.

    The returned pieces, joined, have the same bits however the signal was cut. They
    run behind what was pushed by at most 7 samples of the lower rate: under 1 ms from
    8 kHz upwards.

    Arguments
    ---------
    rate : int
        Sampling rate of the signal in hertz. An `InputError` is raised for one that
        is not in `RATES`.

    Example
    -------
    >>> resampler = Resampler(8000)
    >>> [len(resampler.push(np.zeros(80))) for _ in range(3)]
    [148, 160, 160]
    >>> len(resampler.finish())
    12
    """

    def __init__(self, rate: int):
        if not (RATES[0] <= rate <= RATES[-1] and rate == int(rate)):
            raise InputError(
                f"a signal at {rate} Hz cannot be resampled to {SAMPLE_RATE} Hz; the "
                f"rate must be a whole number from {RATES[0]} to {RATES[-1]}"
            )
        common = math.gcd(int(rate), SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // common, int(rate) // common
        self._kernel, self._reach = _design(self._up, self._down)
        self._pushed = 0  # samples of the signal so far
        self._returned = 0  # samples at 16 kHz so far
        self._held = np.zeros(0, np.float32)  # what later ones need of the signal
        self._start = 0  # where that begins in it, a multiple of _down

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take the next samples (n,); return those at 16 kHz that they complete.

        Both are float32; n may be any number, and nothing may be complete yet.
        """
        if self._up == self._down:
            return np.array(block, np.float32)  # the caller may use its own again
        self._held = np.concatenate([self._held, np.asarray(block, np.float32)])
        self._pushed += len(block)
        known = self._pushed * self._up - self._reach
        return self._compute(-(-known // self._down))

    def finish(self) -> np.ndarray:
        """Return the rest at 16 kHz; the signal is taken to be 0 from here on.

        All pieces together have ceil(n * 16000 / rate) samples.
        """
        return self._compute(-(-self._pushed * self._up // self._down))

    def _compute(self, end: int) -> np.ndarray:
        """Return the samples at 16 kHz from the first that is due up to ``end``."""
        if end <= self._returned:
            return np.zeros(0, np.float32)
        from scipy.signal import upfirdn  # noqa: PLC0415

        # upfirdn's first output lies at the kernel's beginning, not at its centre
        centre = (len(self._kernel) - 1 - self._reach) // self._down
        first = self._start // self._down * self._up - centre
        filtered = upfirdn(self._kernel, self._held, self._up, self._down)
        piece = filtered[self._returned - first : end - first]
        self._returned = end
        needed = (end * self._down - self._reach) // self._up
        start = max(self._start, needed // self._down * self._down)
        self._held = self._held[start - self._start :].copy()
        self._start = start
        return piece


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample a whole signal to 16 kHz.

    Arguments
    ---------
    samples : numpy.ndarray
        (n,).
    rate : int
        Its sampling rate in hertz.

    Returns
    -------
    numpy.ndarray
        (ceil(n * 16000 / rate),), float32.

    Raises
    ------
    InputError
        The rate is not in `RATES`.

    Example
    -------
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(44101) / 44100)
    >>> len(resample(tone, 44100))
    16001
    """
    resampler = Resampler(rate)
    return np.concatenate([resampler.push(samples), resampler.finish()])


def _design(up: int, down: int) -> tuple[np.ndarray, int]:
    """Return a kernel at ``up`` times the signal's rate, and the reach of its centre.

    It is a sinc in a Hann window, centred on its value number ``len - 1 - reach``,
    which is a multiple of ``down``: zeros before it see to that.
    """
    reach = int(_ZERO_CROSSINGS * max(up, down) / _ROLLOFF)
    crossings = np.arange(-reach, reach + 1) * (_ROLLOFF / max(up, down))
    window = np.cos(np.pi * crossings / (2 * _ZERO_CROSSINGS)) ** 2
    gain = _ROLLOFF * min(up, down) / down
    kernel = gain * window * np.sinc(crossings)
    return np.pad(kernel, (-reach % down, 0)).astype(np.float32), reach
