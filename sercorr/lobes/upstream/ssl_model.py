"""Frozen speech encoders of transformers: the same numbers in any batch.

What a family of models does in its own way stands in `Family`; here are the parts
that all have: a description that needs no weights, an identity, and the module.
A new family is a class there and a line in `FAMILIES`.
"""

import functools

import torch
from torch import Tensor

from sercorr import SAMPLE_RATE
from sercorr.lengths import count_mask
from sercorr.lobes.upstream.family import Family
from sercorr.lobes.upstream.frozen import FrozenUpstream, UpstreamInfo
from sercorr.lobes.upstream.layer_choice import Layers
from sercorr.lobes.upstream.mel_bands import Wav2Vec2Bert, Whisper
from sercorr.lobes.upstream.model_files import ModelFiles
from sercorr.lobes.upstream.waveforms import SEW, Data2Vec, Hubert, Waveforms, WavLM
from sercorr.lobes.upstream.weights import load_network

CODE_VERSION = 3
"""Raised whenever a family's computation gives other numbers for the same weights."""

FAMILIES: dict[str, type[Family]] = {
    "wav2vec2": Waveforms,
    "hubert": Hubert,
    "wavlm": WavLM,
    "data2vec-audio": Data2Vec,
    "unispeech": Waveforms,
    "unispeech-sat": Waveforms,
    "sew": SEW,
    "wav2vec2-bert": Wav2Vec2Bert,
    "whisper": Whisper,
}
"""The accepted values of model_type in config.json."""

REFUSED = {
    "wav2vec2-conformer": "the convolutions in its blocks hear the padding of a batch, "
    "so that a clip's features would depend on the others",
}
"""Why other families are not in `FAMILIES`, where that is known."""


class SSLModel:
    """A speech encoder that is described, but not built.

    See `find_model` for ``files``, and for ``layers`` `sercorr.lobes.Upstream`.
    """

    def __init__(self, files: ModelFiles, layers: Layers = None) -> None:
        self.files = files
        config = files.config(FAMILIES, REFUSED)
        self.family = FAMILIES[config.model_type](files, config, layers)
        if files.revision is None:
            _ = files.weights  # that a folder lacks them is seen at once
        self.num_layers = self.family.num_layers
        self.output_size = self.family.output_size
        self._built: SSLUpstream | None = None

    @functools.cached_property
    def info(self) -> UpstreamInfo:
        """Identity of the model; reads the bytes of its weights."""
        return UpstreamInfo(
            source=self.files.source,
            revision=self.files.revision,
            model_type=self.family.config.model_type,
            num_layers=self.num_layers,
            output_size=self.output_size,
            digest=self.files.digest(),
            preprocessing={
                "code_version": CODE_VERSION,
                "dtype": "float32",
                "sampling_rate": SAMPLE_RATE,
                **self.family.input,
                "network": self.family.shape(),
            },
            layers=None if self.family.has_all_layers else self.family.layer_numbers,
        )

    def frames(self, samples: int) -> int:
        """Count the frames of a clip of ``samples`` samples (0: too short)."""
        return self.family.frames(samples)

    def load(self, device: str | torch.device = "cpu") -> "SSLUpstream":
        """Build the model in float32, once, and move it to ``device``."""
        if self._built is None or self._built.precision != "fp32":
            self._built = SSLUpstream(self)
        return self._built.to(device)


class SSLUpstream(FrozenUpstream):
    """All or some layers of a frozen speech encoder of transformers.

    Layer 0 is what the first transformer block receives (``hidden_states[0]`` of
    transformers), layer L the encoder's output (``last_hidden_state``, after the final
    layer norm where there is one). `InputError` if the weights cannot be read or do
    not fit the configuration.
    """

    def __init__(self, description: SSLModel) -> None:
        super().__init__(description.info)
        self.family = description.family
        self.model = load_network(description.files, self.family)
        self.freeze()

    def frames(self, samples: int) -> int:
        """Count the frames of a clip of ``samples`` samples (0: too short)."""
        return self.family.frames(samples)

    def frame_times(self, samples: int) -> list[float]:
        """Centres of what a frame is made from, in seconds."""
        first, step = self.family.grid()
        return [
            (first + frame * step) / SAMPLE_RATE
            for frame in range(self.frames(samples))
        ]

    def _layers(self, wavs: Tensor, samples: list[int], frames: list[int]) -> Tensor:
        layers = self.family.layers(self.model, wavs, samples, frames)
        if min(frames) < max(frames):
            mask = count_mask(frames, max(frames), wavs.device)
            layers.masked_fill_(~mask[:, None, :, None], 0.0)
        return layers
