"""Families that read waveforms: wav2vec 2.0 and what was made after it.

wav2vec 2.0, UniSpeech and UniSpeech-SAT are one network. The others differ from it in
what a class below says.
"""

import re
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.fast.wavlm_attention import use_fused_attention
from sercorr.lengths import conv_frames, count_mask
from sercorr.lobes.upstream.family import Family
from sercorr.lobes.upstream.model_files import ModelFiles


class Waveforms(Family):
    """wav2vec 2.0, UniSpeech, UniSpeech-SAT: convolutions, then a transformer."""

    shape_keys: tuple[str, ...] = (
        "conv_bias", "conv_dim", "conv_kernel", "conv_pos_batch_norm", "conv_stride",
        "do_stable_layer_norm", "feat_extract_activation", "feat_extract_norm",
        "feat_proj_layer_norm", "hidden_act", "layer_norm_eps", "max_bucket_distance",
        "num_attention_heads", "num_buckets", "num_conv_pos_embedding_groups",
        "num_conv_pos_embeddings",
    )  # fmt: skip

    def read_input(self, files: ModelFiles) -> dict[str, Any]:
        """Read whether the model was trained on normalised waveforms."""
        values = files.preprocessor(
            "waveforms are normalised to zero mean and unit variance"
        )
        rate = values.get("sampling_rate", SAMPLE_RATE)
        normalised = values.get("do_normalize", True)
        if rate != SAMPLE_RATE or not isinstance(normalised, bool):
            raise InputError(
                f"{files.name}: preprocessor_config.json says sampling_rate {rate} and "
                f"do_normalize {normalised!r}; they must be {SAMPLE_RATE} and true or "
                "false: choose another model"
            )
        return {"do_normalize": normalised}

    def frames(self, samples: int) -> int:
        """Count frames: one every 20 ms (320 samples), 400 samples for the first."""
        return conv_frames(samples, self.config.conv_kernel, self.config.conv_stride)

    def grid(self) -> tuple[float, int]:
        """Say where the convolutions look."""
        step, width = 1, 1  # samples from one frame to the next, samples that it sees
        for kernel, stride in zip(
            self.config.conv_kernel, self.config.conv_stride, strict=True
        ):
            width += (kernel - 1) * step
            step *= stride
        return (width - 1) / 2, step

    def embed(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Normalise, convolve and project."""
        projected = model.feature_projection(
            self.convolve(model, wavs, samples, frames)
        )
        # all but HuBERT return the normed features as well
        return projected[0] if isinstance(projected, tuple) else projected

    def convolve(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Run the convolutional encoder on each clip's own samples: (B, T, C).

        A group norm averages over time, so that padding would change it. On a CPU,
        one clip at a time is also faster than a batch, which leaves the cache.
        """
        if self.input["do_normalize"]:
            wavs = normalise(wavs, samples)
        channels = self.config.conv_dim[-1]
        features = wavs.new_zeros(len(samples), max(frames), channels)
        for item, (count, size) in enumerate(zip(samples, frames, strict=True)):
            clip = model.feature_extractor(wavs[item : item + 1, :count])
            features[item, :size] = clip[0].transpose(0, 1)  # (C, t) -> (t, C)
        return features


class Hubert(Waveforms):
    """HuBERT: the network of wav2vec 2.0, perhaps with a batch norm of positions."""

    def leaks(self, model: Any) -> list[nn.Module]:
        """Return the batch norm, which may shift the zeros of padding."""
        norm = getattr(model.encoder.pos_conv_embed, "batch_norm", None)
        return [] if norm is None else [norm]


class WavLM(Waveforms):
    """WavLM: wav2vec 2.0 with gated relative positions."""

    attention = "eager"  # transformers knows no other name for its own attention

    def speed_up(self, model: Any) -> None:
        """Compute attention with torch's fused kernel."""
        use_fused_attention(model)

    def layers(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Compute as any family, without a warning of masks of two types."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            return super().layers(model, wavs, samples, frames)


class Data2Vec(Waveforms):
    """data2vec: wav2vec 2.0 with a stack of convolutions for positions."""

    shape_keys = (*Waveforms.shape_keys, "conv_pos_kernel_size")

    def leaks(self, model: Any) -> list[nn.Module]:
        """Return the stacked convolutions: each one's bias would reach the next."""
        return list(model.encoder.pos_conv_embed.layers)


class SEW(Waveforms):
    """SEW: wav2vec 2.0 whose blocks see averages of a few frames, two as a rule.

    Layers are taken where the blocks run, before the output is stretched to one vector
    a frame again.
    """

    shape_keys = (*Waveforms.shape_keys, "squeeze_factor")
    used_parts = re.compile(
        rf"{Waveforms.used_parts.pattern}|^(sew\.)?layer_norm\."  # before the encoder
    )

    def frames(self, samples: int) -> int:
        """Count averages of whole groups: one every 40 ms, 720 samples for the first.

        With the usual two frames a group.
        """
        return super().frames(samples) // self.config.squeeze_factor

    def grid(self) -> tuple[float, int]:
        """Return the middle of a group of frames."""
        first, step = super().grid()
        factor = self.config.squeeze_factor
        return first + (factor - 1) / 2 * step, factor * step

    def embed(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Normalise, convolve, project and average; 0 on padding before that."""
        encoder = model.encoder
        inner = [super(SEW, self).frames(count) for count in samples]
        features = model.layer_norm(self.convolve(model, wavs, samples, inner))
        if model.project_features:
            features = model.feature_projection(features)
        real = count_mask(inner, max(inner), wavs.device)
        features = (features.float() * real[:, :, None]).transpose(1, 2)  # (B, D, T)
        # Convolved positions hear a last frame that fills no group.
        positions = encoder.pos_conv_embed(features)[..., : max(frames)]
        averages = encoder.pool(features) + positions
        return encoder.layer_norm(averages.transpose(1, 2))

    def layers(
        self, model: Any, wavs: Tensor, samples: list[int], frames: list[int]
    ) -> Tensor:
        """Run the blocks on averages.

        Transformers' encoder would let the others attend to a last average that is
        padding in part, which a clip alone does not have.
        """
        states = self.embed(model, wavs, samples, frames).float()
        mask = None
        if min(frames) < max(frames):
            mask = count_mask(frames, max(frames), wavs.device)[:, None, None, :]
        layers = []
        for number, block in enumerate(model.encoder.layers):
            if number in self.layer_numbers:
                layers.append(states)
            states = block(states, attention_mask=mask)
        if self.has_output_layer:
            layers.append(states)
        return torch.stack(layers, dim=1)


def normalise(wavs: Tensor, samples: list[int]) -> Tensor:
    """Give each clip of (B, N) zero mean and unit variance over its own samples.

    (x - mean) / sqrt(variance + 1e-7) with the variance's 1/N form, as
    transformers' Wav2Vec2FeatureExtractor; float32, and 0 on padding.

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
