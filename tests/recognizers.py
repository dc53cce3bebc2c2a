"""Recognisers with random heads, and files for them. Nothing here is a test."""

from pathlib import Path

import numpy as np
import soundfile
from heads import random_parts

from sercorr.inference.recognizer import EmotionRecognizer
from sercorr.lobes.upstream import Upstream

RATE = 16_000


def make_recognizer(
    upstream: str | Path = "fbank",
    pooling: str = "attentive_corr",
    stored: str | None = None,
    heads: int = 1,
) -> EmotionRecognizer:
    """Make one with random heads on the CPU."""
    features = {"stored": stored, "precision": "fp32"}
    parts = random_parts(
        Upstream(upstream), tuple(range(1, heads + 1)), pooling, features=features
    )
    return EmotionRecognizer(parts, device="cpu")


def make_noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Make (N,) float32 samples whose colour and loudness change every second."""
    generator = np.random.default_rng(seed)
    count = round(seconds * rate)
    noise = generator.standard_normal(count)
    slow = np.convolve(noise, np.ones(8) / 4, "same")
    share = np.repeat(generator.random(int(seconds) + 1), rate)[:count]
    loud = np.repeat(generator.uniform(0.02, 0.3, int(seconds) + 1), rate)[:count]
    return (loud * (share * noise + (1 - share) * slow)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, **format) -> Path:
    """Write samples in float32, or what ``format`` says."""
    soundfile.write(path, samples, rate, **({"subtype": "FLOAT"} | format))
    return path
