"""Speech emotion recognition from frozen self-supervised models.

Implements Kakouros, Stafylakis, Mošner and Burget, "Speech-based emotion
recognition with self-supervised models using attentive channel-wise correlations
and label smoothing", ICASSP 2023. Equation numbers in the docstrings are the
paper's.
"""

import logging

# SpeechBrain's loggers say at import that torchvision, for pictures of spectrograms, is
# missing; nothing here needs it.
logging.getLogger("speechbrain.utils.train_logger").addFilter(
    lambda record: "torchvision" not in record.getMessage()
)

__version__ = "0.1.0"

SAMPLE_RATE = 16000
"""Sampling rate of every waveform inside the package, in hertz."""
