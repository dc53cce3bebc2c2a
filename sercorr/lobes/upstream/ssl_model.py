"""Frozen wav2vec 2.0, HuBERT and WavLM models: the same numbers in any batch.

Transformers' models give a padded clip other features than the bare one: the waveform
is normalised over padding, the group norm of base models averages over it, and
masks are optional. Here each clip is normalised and convolved over its own samples,
and the transformer sees a mask, so that batches change nothing (to float32 rounding).
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import nn

from sercorr.lengths import conv_frames, count_mask
from sercorr.lobes.upstream.frozen import FrozenUpstream, UpstreamInfo
from sercorr.lobes.upstream.model_files import ModelFiles
from sercorr.lobes.upstream.model_loading import (
    load_network,
    read_config,
    read_preprocessing,
)


def normalise(wavs: torch.Tensor, samples: list[int]) -> torch.Tensor:
    """Give each clip zero mean and unit variance over its own samples.

    (x - mean) / sqrt(variance + 1e-7) with the variance's 1/N form, as
    transformers' Wav2Vec2FeatureExtractor; padding becomes zero.

    Arguments
    ---------
    wavs : torch.Tensor
        (B, N).
    samples : list of int
        True length of each clip.

    Returns
    -------
    torch.Tensor
        (B, N), float32.

    Example
    -------
    >>> normalise(torch.tensor([[1.0, 3.0, 9.0]]), [2]).round(decimals=4)
    tensor([[-1.,  1.,  0.]])
    """
    result = torch.zeros_like(wavs, dtype=torch.float32)
    for item, count in enumerate(samples):
        clip = wavs[item, :count].double()
        variance, mean = torch.var_mean(clip, correction=0)
        result[item, :count] = (clip - mean) / torch.sqrt(variance + 1e-7)
    return result


class SSLModel:
    """A self-supervised model that is described, but not built; see `find_model`."""

    def __init__(self, files: ModelFiles) -> None:
        self.files = files
        self.config = read_config(files)
        self.preprocessing = read_preprocessing(files, self.config)
        self.num_layers: int = self.config.num_hidden_layers + 1
        self.output_size: int = self.config.hidden_size
        self._built: SSLUpstream | None = None

    @cached_property
    def info(self) -> UpstreamInfo:
        """Identity of the model; reads the bytes of its weights."""
        return UpstreamInfo(
            source=self.files.source,
            revision=self.files.revision,
            model_type=self.config.model_type,
            num_layers=self.num_layers,
            output_size=self.output_size,
            digest=self.files.digest(),
            preprocessing=self.preprocessing,
        )

    def frames(self, samples: int) -> int:
        """Count frames: one every 20 ms (320 samples), 400 samples for the first."""
        return conv_frames(samples, self.config.conv_kernel, self.config.conv_stride)

    def load(self, device: str | torch.device = "cpu") -> "SSLUpstream":
        """Build the model in float32, once, and move it to ``device``."""
        if self._built is None or self._built.precision != "fp32":
            self._built = SSLUpstream(self)
        return self._built.load(device)


class SSLUpstream(FrozenUpstream):
    """All layers of a frozen wav2vec 2.0, HuBERT or WavLM model.

    Layer 0 is what the first transformer block receives (``hidden_states[0]`` of
    transformers), layer L the model's output (``last_hidden_state``, after the final
    layer norm where there is one).

    Arguments
    ---------
    description : SSLModel
        The model to build.

    Raises
    ------
    InputError
        The weights cannot be read or do not fit the configuration.
    """

    def __init__(self, description: SSLModel) -> None:
        super().__init__(description.info)
        self.config = description.config
        self.model: Any = load_network(description.files, description.config)
        self.freeze()

    @property
    def minimum_samples(self) -> int:
        """Samples that one frame sees."""
        kernels, strides = self.config.conv_kernel, self.config.conv_stride
        size = 1
        for kernel, stride in zip(kernels[::-1], strides[::-1], strict=True):
            size = (size - 1) * stride + kernel
        return size

    def frames(self, samples: int) -> int:
        """Count frames: one every 20 ms (320 samples), 400 samples for the first."""
        return conv_frames(samples, self.config.conv_kernel, self.config.conv_stride)

    def _layers(
        self, wavs: torch.Tensor, samples: list[int], frames: list[int]
    ) -> torch.Tensor:
        if self.info.preprocessing["do_normalize"]:
            wavs = normalise(wavs, samples)
        features = self._convolve(wavs, samples, frames)  # (B, T, C)
        projected = self.model.feature_projection(features)
        # wav2vec 2.0 and WavLM return the normed features as well
        projected = projected[0] if isinstance(projected, tuple) else projected
        projected = projected.float()  # so that residual sums are, too
        mask = None
        if min(frames) < max(frames):
            mask = count_mask(frames, max(frames), wavs.device)
        batch, size, width = projected.shape
        layers = projected.new_empty(batch, self.num_layers, size, width)
        with _catch_inputs(self.model.encoder, layers, mask), warnings.catch_warnings():
            # of transformers' WavLM, whose masks have two types
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            output = self.model.encoder(projected, attention_mask=mask)
        layers[:, -1] = output.last_hidden_state
        if mask is not None:
            layers.masked_fill_(~mask[:, None, :, None], 0.0)
        return layers

    def _convolve(
        self, wavs: torch.Tensor, samples: list[int], frames: list[int]
    ) -> torch.Tensor:
        """Run the convolutional encoder on each clip's own samples.

        A group norm averages over time, so that padding would change it. On a CPU,
        one clip at a time is also faster than a batch, which leaves the cache.
        """
        channels = self.config.conv_dim[-1]
        features = wavs.new_zeros(len(samples), max(frames), channels)
        for item, (count, size) in enumerate(zip(samples, frames, strict=True)):
            clip = self.model.feature_extractor(wavs[item : item + 1, :count])
            features[item, :size] = clip[0].transpose(0, 1)  # (C, t) -> (t, C)
        return features


@contextlib.contextmanager
def _catch_inputs(
    encoder: Any, layers: torch.Tensor, mask: torch.Tensor | None
) -> Iterator[None]:
    """Copy what each transformer block receives into ``layers``[:, block]."""

    def catch(index: int) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            layers[:, index] = inputs[0]

        return hook

    handles = [
        block.register_forward_pre_hook(catch(index))
        for index, block in enumerate(encoder.layers)
    ]
    norm = getattr(encoder.pos_conv_embed, "batch_norm", None)
    if norm is not None and mask is not None:
        # HuBERT may shift the zeros of padding just before the positional convolution
        real = mask[:, None, :]  # of (B, D, T)
        zero_padding = norm.register_forward_hook(lambda *values: values[2] * real)
        handles.append(zero_padding)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
