"""What every frozen upstream shares: its identity, its lengths, its eval mode."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import nn

from sercorr.errors import InputError
from sercorr.lengths import absolute_to_relative, relative_to_absolute

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class UpstreamInfo:
    """What an upstream is, known without building it.

    Arguments
    ---------
    source : str
        What the user asked for: ``fbank``, a hub name or a folder.
    revision : str or None
        Commit of a hub model, None where there is none.
    model_type : str
        ``fbank``, ``wav2vec2``, ``hubert`` or ``wavlm``.
    num_layers : int
        Number of layers that come out: L + 1 for a transformer of L blocks.
    output_size : int
        Size D of a feature vector.
    digest : str
        SHA-256 of the weights' bytes, in hexadecimal. Equal weights at another path
        have the same digest.
    preprocessing : dict
        All else that decides the values: normalisation, sampling rate, shape of the
        network, version of the computation.
    """

    source: str
    revision: str | None
    model_type: str
    num_layers: int
    output_size: int
    digest: str
    preprocessing: dict[str, Any] = dataclasses.field(hash=False)

    def describe(self) -> dict[str, Any]:
        """Return all fields as plain values that JSON can hold."""
        return dataclasses.asdict(self)

    def identity(self) -> dict[str, Any]:
        """Return what decides the features' values, and not where they came from."""
        described = self.describe()
        del described["source"], described["revision"]
        return described

    def at_precision(self, precision: str) -> "UpstreamInfo":
        """Return the identity of the same upstream computed at a precision.

        Arguments
        ---------
        precision : str
            ``fp32``, or ``bf16``, which gives other values (see
            `FrozenUpstream.use_bfloat16`).

        Raises
        ------
        InputError
            Another precision, or ``bf16`` for log-mel bands.
        """
        if precision not in PRECISIONS:
            raise InputError(
                f"extract_precision is {precision!r}; it must be one of "
                f"{', '.join(PRECISIONS)}"
            )
        if precision == "bf16" and self.model_type == "fbank":
            raise InputError(
                "extract_precision is 'bf16', but fbank has no network that it would "
                "make faster: remove the setting"
            )
        preprocessing = {**self.preprocessing, "dtype": PRECISIONS[precision]}
        return dataclasses.replace(self, preprocessing=preprocessing)


class FrozenUpstream(nn.Module):
    """A feature extractor that no training touches.

    It stays in eval mode whatever its parents are told, needs no gradient, and
    computes in float32 whatever the autocast (in bfloat16 on request). A subclass
    gives `frames`, `minimum_samples` and `_layers`. It may stand in a settings file
    in the place of `sercorr.lobes.Upstream`.

    Arguments
    ---------
    info : UpstreamInfo
        Identity of the upstream.
    """

    def __init__(self, info: UpstreamInfo) -> None:
        super().__init__()
        self.info = info
        self.precision = "fp32"

    @property
    def num_layers(self) -> int:
        """Number of layers that `forward` returns."""
        return self.info.num_layers

    @property
    def output_size(self) -> int:
        """Size D of a feature vector."""
        return self.info.output_size

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever ``mode`` is."""
        return super().train(False)

    def freeze(self) -> Self:
        """Switch gradients off and enter eval mode."""
        return self.requires_grad_(False).eval()

    def use_bfloat16(self) -> Self:
        """Compute matrix products and convolutions in bfloat16 from now on.

        What lies between them (residual sums, norms over time) stays in float32, and
        so do convolutions that `may_be_bfloat16` excludes. The features differ from
        those of float32 by about 1 %; ``info`` is that of this precision.
        """
        self.info = self.info.at_precision("bf16")
        self.precision = "bf16"
        for module in self.modules():
            if type(module) is nn.Conv1d and not may_be_bfloat16(
                module.in_channels, module.out_channels, module.groups
            ):
                module.__class__ = _Float32Convolution
            elif type(module) is not _Float32Convolution and isinstance(
                module, (nn.Linear, nn.Conv1d)
            ):
                module.to(torch.bfloat16)  # or autocast would do it in every call
        return self

    def load(self, device: str | torch.device = "cpu") -> Self:
        """Move to ``device`` and return itself: nothing is left to be loaded."""
        return self.to(device)

    @property
    def minimum_samples(self) -> int:
        """Samples of the shortest clip that gives a frame."""
        raise NotImplementedError

    def frames(self, samples: int) -> int:
        """Count the frames of a clip of ``samples`` samples (0: too short)."""
        raise NotImplementedError

    def _layers(
        self, wavs: torch.Tensor, samples: list[int], frames: list[int]
    ) -> torch.Tensor:
        """Compute (B, L, T, D) from (B, N); padding of ``wavs`` holds anything."""
        raise NotImplementedError

    def forward(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Extract all layers of a batch of clips.

        A clip has the same features alone, padded and in any batch.

        Arguments
        ---------
        wavs : torch.Tensor
            (B, N), waveforms at 16 kHz; what stands on padding is not read.
        wav_lens : torch.Tensor or None
            (B,), lengths relative to N; None means full length.

        Returns
        -------
        layers : torch.Tensor
            (B, L, T, D), float32, zero on padding; T is that of the longest clip.
        lengths : torch.Tensor
            (B,), lengths in frames relative to T.

        Raises
        ------
        InputError
            A clip is shorter than one frame.
        ValueError
            ``wavs`` is not (B, N) or ``wav_lens`` is not (B,).
        """
        samples = _sample_counts(wavs, wav_lens)
        frames = [self.frames(count) for count in samples]
        for item, count in enumerate(samples):
            if frames[item] < 1:
                raise InputError(
                    f"clip {item} of the batch has {count} samples; at least "
                    f"{self.minimum_samples} are needed: leave it out"
                )
        precision = _bfloat16 if self.precision == "bf16" else _full_float32
        with torch.no_grad(), precision(wavs.device):
            longest = wavs[:, : max(samples)].float()
            layers = self._layers(longest, samples, frames)
        lengths = absolute_to_relative(torch.tensor(frames), max(frames))
        return layers, lengths.to(wavs.device)


def may_be_bfloat16(in_channels: int, out_channels: int, groups: int) -> bool:
    """Say whether a convolution of this shape may be computed in bfloat16.

    On processors with AMX, oneDNN's bfloat16 convolutions in groups return garbage
    where the channels of a group are not a multiple of 16. They stay in float32 on
    all processors, so that all give the same features.

    Example
    -------
    >>> may_be_bfloat16(1024, 1024, groups=16), may_be_bfloat16(32, 32, groups=4)
    (True, False)
    """
    if groups == 1:
        return True
    return in_channels % (16 * groups) == 0 and out_channels % (16 * groups) == 0


class _Float32Convolution(nn.Conv1d):
    """A convolution that stays in float32 whatever the autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def _sample_counts(wavs: torch.Tensor, wav_lens: torch.Tensor | None) -> list[int]:
    if wavs.ndim != 2 or wavs.numel() == 0:
        raise ValueError(
            f"wavs must have shape (batch, samples) (got {tuple(wavs.shape)})"
        )
    batch, size = wavs.shape
    if wav_lens is None:
        return [size] * batch
    if tuple(wav_lens.shape) != (batch,):
        raise ValueError(
            f"wav_lens must have shape ({batch},), one an item "
            f"(got {tuple(wav_lens.shape)})"
        )
    return relative_to_absolute(wav_lens, size).tolist()


@contextlib.contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Compute in real float32: no autocast and, on a GPU, no TF32.

    TF32 is on by default in cuDNN's convolutions and keeps 10 bits of a number, so
    that features would differ with the batch by about 1e-3.
    """
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = False
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before


def _bfloat16(device: torch.device) -> torch.autocast:
    """Compute matrix products and convolutions in bfloat16."""
    return torch.autocast(device.type, torch.bfloat16)
