"""Signals of any rate at 16 kHz, whole and in blocks."""

from itertools import cycle

import numpy as np
import pytest
import torch
import torchaudio

from sercorr.data.resampling import Resampler, resample
from sercorr.errors import InputError

RATES = (1000, 8000, 11025, 12345, 16001, 22050, 32000, 44100, 48000, 96000, 768000)


def noise(frames: int) -> np.ndarray:
    values = np.random.default_rng(1).uniform(-1, 1, frames)
    return values.astype(np.float32)


def in_blocks(samples: np.ndarray, rate: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Push blocks of these sizes in turn, up to the end of the samples."""
    resampler, pieces, place = Resampler(rate), [], 0
    for size in cycle(sizes):
        if place >= len(samples):
            break
        pieces.append(resampler.push(samples[place : place + size]))
        place += size
    return np.concatenate([*pieces, resampler.finish()])


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != 16001])
@pytest.mark.parametrize("frames", [1, 5, 4001])
def test_resampling_equals_torchaudio(rate, frames):
    """In double precision: in single, torchaudio's result is off by up to 3e-4."""
    samples = noise(frames)
    found = resample(samples, rate)
    assert found.dtype == np.float32
    assert len(found) == -(-frames * 16000 // rate)
    padded = np.pad(samples, (0, rate)).astype(np.float64)  # its count may be one short
    expected = torchaudio.functional.resample(torch.from_numpy(padded), rate, 16000)
    np.testing.assert_allclose(found, expected[: len(found)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [*RATES, 44101, 16000])
@pytest.mark.parametrize("sizes", [(1,), (101,), (1, 0, 997, 13, 4)])
def test_blocks_of_any_size_give_the_same_bits(rate, sizes):
    samples = noise(min(rate // 4, 3001))
    whole = resample(samples, rate)
    np.testing.assert_array_equal(in_blocks(samples, rate, sizes), whole)


@pytest.mark.parametrize("rate", RATES)
def test_the_output_follows_its_input_closely(rate):
    resampler, returned = Resampler(rate), 0
    lag = 7 / min(rate, 16000)
    for count in range(100, 2001, 100):
        returned += len(resampler.push(noise(100)))
        assert count / rate - lag <= returned / 16000 <= count / rate


def test_nothing_gives_nothing():
    assert len(resample(np.zeros(0), 8000)) == len(resample(np.zeros(0), 16000)) == 0


def test_16_khz_stays_as_it_is_and_is_copied():
    """A microphone's buffer is filled again while its samples are still needed."""
    samples = noise(500)
    kept, block = samples.copy(), Resampler(16000).push(samples)
    samples[:] = 0
    np.testing.assert_array_equal(block, kept)


@pytest.mark.parametrize("rate", [0, -8000, 999, 768001, 44100.5, float("nan")])
def test_a_rate_that_cannot_be_resampled(rate):
    with pytest.raises(InputError, match=rf"at {rate} Hz .* from 1000 to 768000"):
        resample(noise(10), rate)
