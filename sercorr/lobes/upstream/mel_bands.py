"""Families that read log-mel bands, each clip's as transformers' extractor makes them.

The extractors are transformers' own; they run on one clip at a time, on the CPU.
"""

import functools
import re
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import SeamlessM4TFeatureExtractor, WhisperFeatureExtractor

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.lobes.upstream.family import Family
from sercorr.lobes.upstream.model_files import ModelFiles

_MIN_SAMPLES = 400  # of any clip: one frame of 25 ms


class Wav2Vec2Bert(Family):
    """w2v-BERT 2.0: 80 bands every 10 ms, two of them a frame; conformer blocks.

    Of an odd number of bands, transformers completes the last frame with padding and
    masks it; here it does not exist.
    """

    shape_keys = (
        "conv_depthwise_kernel_size", "hidden_act", "layer_norm_eps",
        "left_max_position_embeddings", "num_attention_heads",
        "position_embeddings_type", "right_max_position_embeddings",
        "rotary_embedding_base",
    )  # fmt: skip
    used_parts = re.compile(r"(^|\.)(feature_projection|encoder)\.")

    def read_input(self, files: ModelFiles) -> dict[str, Any]:
        """Read the number of bands."""
        found = _read_settings(
            files, SeamlessM4TFeatureExtractor, {"num_mel_bins": 80}, {"stride": 2}
        )
        bands, size = found["num_mel_bins"], self.config.feature_projection_input_dim
        if 2 * bands != size:
            raise InputError(
                f"{files.name}: preprocessor_config.json says num_mel_bins {bands}, "
                f"but config.json says feature_projection_input_dim {size}, which is "
                "not twice that: use files of one model"
            )
        return found

    def frames(self, samples: int) -> int:
        """Count frames: one every 20 ms (320 samples), 560 samples for the first."""
        return max((samples - 400) // 160 + 1, 0) // 2

    def grid(self) -> tuple[float, int]:
        """Return the middle of 560 samples, those of two bands."""
        return 280.0, 320

    @functools.cached_property
    def _extractor(self) -> Any:
        bands = self.input["num_mel_bins"]
        return SeamlessM4TFeatureExtractor(feature_size=bands, **self.input)

    def embed(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Extract bands, normalised over each clip, and project them."""
        clips = []
        for wave, count, size in zip(wavs.cpu(), samples, frames, strict=True):
            found = self._extractor(
                wave[:count].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt"
            )
            clips.append(found["input_features"][0, :size])
        bands = pad_sequence(clips, batch_first=True).to(wavs.device)
        return model.feature_projection(bands)[0]


class Whisper(Family):
    """Whisper's encoder, which hears windows of 30 seconds.

    A clip is one window, filled up with silence, or several on end. Frames of the
    silence are computed, since others attend to them, and dropped. Windows are
    computed one by one: 30 seconds of work for the shortest clip.
    """

    shape_keys = (
        "activation_function", "encoder_attention_heads", "max_source_positions",
    )  # fmt: skip
    used_parts = re.compile(r"(^|\.)encoder\.")

    @property
    def network(self) -> Any:
        """The encoder alone."""
        from sercorr.lobes.upstream.whisper_network import (  # noqa: PLC0415
            WhisperEncoderAlone,
        )

        return WhisperEncoderAlone

    def read_input(self, files: ModelFiles) -> dict[str, Any]:
        """Read the number of bands, their step and the window's length."""
        found = _read_settings(
            files,
            WhisperFeatureExtractor,
            {"feature_size": 80, "hop_length": 160, "n_fft": 400, "chunk_length": 30},
            {"dither": 0.0, "padding_value": 0.0, "padding_side": "right"},
        )
        bands, positions = self.config.num_mel_bins, self.config.max_source_positions
        samples = found["chunk_length"] * SAMPLE_RATE
        fits = samples == positions * 2 * found["hop_length"]
        if found["feature_size"] != bands or not fits:
            raise InputError(
                f"{files.name}: preprocessor_config.json says "
                f"{', '.join(f'{key} {value}' for key, value in found.items())}, but "
                f"config.json says num_mel_bins {bands} and max_source_positions "
                f"{positions} (of two hops each): use files of one model"
            )
        return found

    def frames(self, samples: int) -> int:
        """Count frames that begin in the clip: one every 20 ms (320 samples)."""
        step = self.grid()[1]
        return -(-samples // step) if samples >= _MIN_SAMPLES else 0

    def grid(self) -> tuple[float, int]:
        """Say that the first frame lies around the first sample."""
        return 0.0, 2 * self.input["hop_length"]

    @functools.cached_property
    def _extractor(self) -> Any:
        return WhisperFeatureExtractor(**self.input)

    def layers(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Compute window after window."""
        layers = wavs.new_empty(
            len(samples), self.num_layers, max(frames), self.output_size
        )
        size, step = self.input["chunk_length"] * SAMPLE_RATE, self.grid()[1]
        for item, count in enumerate(samples):
            for start in range(0, count, size):
                window = wavs[item, start : min(start + size, count)]
                first, last = start // step, -(-(start + len(window)) // step)
                place = layers[item : item + 1, :, first:last]
                with self.block_inputs(model, place):
                    output = model.encoder(self._read(window))
                if self.has_output_layer:
                    place[:, -1] = output.last_hidden_state[:, : last - first]
        return layers

    def _read(self, window: Tensor) -> Tensor:
        """Turn a window into bands (1, bands, positions), silence behind it."""
        # Under bfloat16 autocast, the bands would be products in bfloat16.
        with torch.autocast("cpu", enabled=False):
            found = self._extractor(
                window.cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt"
            )
        return found["input_features"].to(window.device)


def _read_settings(
    files: ModelFiles,
    extractor: type,
    defaults: dict[str, int],
    fixed: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Read an extractor's whole numbers; `InputError` for values it cannot have.

    ``fixed`` are settings that may be written out, but not changed.
    """
    values = files.preprocessor("log-mel bands are computed")
    wanted = {
        "feature_extractor_type": extractor.__name__,
        "sampling_rate": SAMPLE_RATE,
        **(fixed or {}),
    }
    for key, value in wanted.items():
        if values.get(key, value) != value:
            raise InputError(
                f"{files.name}: preprocessor_config.json says {key} {values[key]!r}; "
                f"it must be {value!r}: choose another model"
            )
    found = {key: values.get(key, default) for key, default in defaults.items()}
    for key, value in found.items():
        if type(value) is not int or value < 1:
            raise InputError(
                f"{files.name}: preprocessor_config.json says {key} {value!r}; it must "
                "be a whole number above 0: choose another model"
            )
    return found
