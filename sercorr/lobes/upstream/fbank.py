"""Log-mel bands as an upstream: no weights, no download, one layer."""

import hashlib
import json
from typing import Any

import torch
from speechbrain.lobes.features import Fbank

from sercorr import SAMPLE_RATE
from sercorr.lengths import count_mask
from sercorr.lobes.upstream.frozen import FrozenUpstream, UpstreamInfo

SETTINGS: dict[str, Any] = {
    "code_version": 1,
    "dtype": "float32",
    "sampling_rate": SAMPLE_RATE,
    "bands": 80,
    "fft_size": 512,
    "window_ms": 25,
    "hop_ms": 10,
    "floor": 1e-8,
    "centre_db": -50.0,
    "scale_db": 20.0,
}
"""Everything that decides the values. ``floor`` is a power: -80 dB, the rounding
noise of 16-bit audio, below which there is only digital silence. Centre and scale are
round numbers near the mean and deviation of recorded speech in these bands."""


class FbankUpstream(FrozenUpstream):
    """SpeechBrain's log-mel lobe, scaled by fixed constants.

    A feature is (10 log10(max(power, 1e-8)) + 50) / 20, with the power of a
    triangular mel band (80 of them, 0 to 8 kHz) in a Hamming window of 25 ms every
    10 ms. Loudness survives (twice the amplitude adds 0.301), and nothing is learned
    from data.

    The lobe's own floor, 80 dB below the loudest band of a batch item, is switched
    off: frames on padding would move it.

    Example
    -------
    >>> upstream = FbankUpstream()
    >>> layers, lengths = upstream(torch.zeros(2, 16000), torch.tensor([1.0, 0.5]))
    >>> layers.shape, lengths
    (torch.Size([2, 1, 101, 80]), tensor([1.0000, 0.5050]))
    """

    def __init__(self) -> None:
        text = json.dumps(SETTINGS, sort_keys=True)
        super().__init__(
            UpstreamInfo(
                source="fbank",
                revision=None,
                model_type="fbank",
                num_layers=1,
                output_size=SETTINGS["bands"],
                digest=hashlib.sha256(text.encode()).hexdigest(),
                preprocessing=dict(SETTINGS),
            )
        )
        self.fbank = Fbank(
            sample_rate=SETTINGS["sampling_rate"],
            n_mels=SETTINGS["bands"],
            n_fft=SETTINGS["fft_size"],
            win_length=SETTINGS["window_ms"],
            hop_length=SETTINGS["hop_ms"],
        )
        self.fbank.compute_fbanks.amin = SETTINGS["floor"]
        self.fbank.compute_fbanks.top_db = float("inf")
        self.freeze()

    def frames(self, samples: int) -> int:
        """Count frames: one every 10 ms, the first at the first sample; 25 ms at least.

        Example
        -------
        >>> [FbankUpstream().frames(n) for n in (399, 400, 479, 480)]
        [0, 3, 3, 4]
        """
        if samples * 1000 < SAMPLE_RATE * SETTINGS["window_ms"]:
            return 0
        return 1 + samples * 1000 // (SAMPLE_RATE * SETTINGS["hop_ms"])

    def frame_times(self, samples: int) -> list[float]:
        """Centres of the frames in seconds: 0, 0.01, 0.02, ..."""
        hop = SETTINGS["hop_ms"] / 1000
        return [frame * hop for frame in range(self.frames(samples))]

    def _layers(
        self, wavs: torch.Tensor, samples: list[int], frames: list[int]
    ) -> torch.Tensor:
        # The lobe pads with zeros at both ends, so that zeros behind a clip are what
        # it would see alone.
        heard = count_mask(samples, wavs.shape[1], wavs.device)
        decibels = self.fbank(wavs.where(heard, 0.0))[:, : max(frames)]  # (B, T, D)
        features = (decibels - SETTINGS["centre_db"]) / SETTINGS["scale_db"]
        features[~count_mask(frames, max(frames), wavs.device)] = 0.0
        return features[:, None]  # (B, 1, T, D)
