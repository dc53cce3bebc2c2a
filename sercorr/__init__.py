"""Speech emotion recognition from frozen self-supervised models.

Implements Kakouros, Stafylakis, Mošner and Burget, "Speech-based emotion
recognition with self-supervised models using attentive channel-wise correlations
and label smoothing", ICASSP 2023. Equation numbers in the docstrings are the
paper's.
"""

__version__ = "0.1.0"

SAMPLE_RATE = 16000
"""Sampling rate of every waveform inside the package, in hertz."""
