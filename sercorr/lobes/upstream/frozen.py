"""What every frozen upstream shares: its identity, its lengths, its eval mode."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.lengths import absolute_to_relative, real_counts

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class UpstreamInfo:
    """What an upstream is, known without building it."""

    source: str
    """What the user asked for: ``fbank``, a hub name or a folder."""
    revision: str | None
    """Commit of a hub model, None where there is none."""
    model_type: str
    """``fbank``, or what config.json says: ``wavlm``, ``whisper``, ..."""
    num_layers: int
    """Number of layers that come out: L + 1 for a transformer of L blocks, or fewer."""
    output_size: int
    """Size D of a feature vector."""
    digest: str
    """SHA-256 of the weights' bytes: the same at another path."""
    preprocessing: dict[str, Any] = dataclasses.field(hash=False)
    """All else that decides the values: normalisation, shape of the network, ..."""
    layers: tuple[int, ...] | None = None
    """The layers that come out, in increasing order; None: all of them."""

    @property
    def layer_numbers(self) -> tuple[int, ...]:
        """The model's own numbers of the layers that come out."""
        return tuple(range(self.num_layers)) if self.layers is None else self.layers

    def describe(self) -> dict[str, Any]:
        """Return all fields as plain values that JSON can hold.

        ``layers`` is there only where not all of them come out.
        """
        described = dataclasses.asdict(self)
        layers = described.pop("layers")
        return described if layers is None else {**described, "layers": list(layers)}

    def identity(self) -> dict[str, Any]:
        """Return what decides the features' values, and not where they came from."""
        described = self.describe()
        del described["source"], described["revision"]
        return described

    def at_precision(self, precision: str) -> "UpstreamInfo":
        """Return the identity of the same upstream computed at another precision.

        ``fp32``, or ``bf16``, which gives other values (see
        `FrozenUpstream.use_bfloat16`). `InputError` for others, and for log-mel bands
        in ``bf16``.
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
    gives `frames` and `_layers`, and calls `freeze` once it is built. It may stand in
    a settings file in the place of `sercorr.lobes.Upstream`.
    """

    def __init__(self, info: UpstreamInfo) -> None:
        super().__init__()
        self.info = info
        self.num_layers, self.output_size = info.num_layers, info.output_size
        self.precision = "fp32"

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
            if isinstance(module, nn.Conv1d) and not may_be_bfloat16(
                module.in_channels, module.out_channels, module.groups
            ):
                module.__class__ = _Float32Convolution
            elif isinstance(module, (nn.Linear, nn.Conv1d)):
                module.to(torch.bfloat16)  # or autocast would do it in every call
        return self

    def load(self, device: str | torch.device = "cpu") -> Self:
        """Move to ``device`` and return itself: nothing is left to be loaded."""
        return self.to(device)

    def frames(self, samples: int) -> int:
        """Count the frames of a clip of ``samples`` samples (0: too short)."""
        raise NotImplementedError

    def frame_times(self, samples: int) -> list[float]:
        """Centres of the frames of a clip of ``samples`` samples, in seconds.

        Spread evenly over the clip, unless a subclass knows better.
        """
        count = self.frames(samples)
        step = samples / SAMPLE_RATE / max(count, 1)
        return [(frame + 0.5) * step for frame in range(count)]

    def _layers(self, wavs: Tensor, samples: list[int], frames: list[int]) -> Tensor:
        """Compute (B, L, T, D) from (B, N); padding of ``wavs`` holds anything."""
        raise NotImplementedError

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Extract all layers of a batch of clips.

        A clip has the same features alone, padded and in any batch. One that is
        shorter than a frame is an `InputError`.

        Arguments
        ---------
        wavs : torch.Tensor
            (B, N), waveforms at 16 kHz; what stands on padding is not read.
        wav_lens : torch.Tensor or None
            (B,), lengths relative to N; None means full length.

        Returns
        -------
        tuple of torch.Tensor
            The layers (B, L, T, D), float32, zero on padding, with the T of the
            longest clip; the clips' lengths (B,) relative to T.
        """
        if wavs.ndim != 2 or wavs.numel() == 0:
            raise ValueError(
                f"wavs must have shape (batch, samples) (got {tuple(wavs.shape)})"
            )
        samples = real_counts(wav_lens, *wavs.shape)
        frames = [self.frames(count) for count in samples]
        for item, count in enumerate(samples):
            if frames[item] < 1:
                enough = next(n for n in itertools.count(count) if self.frames(n))
                raise InputError(
                    f"clip {item} of the batch has {count} samples; at least "
                    f"{enough} are needed: leave it out"
                )
        half = torch.autocast(wavs.device.type, torch.bfloat16)
        precision = half if self.precision == "bf16" else _full_float32(wavs.device)
        with torch.no_grad(), precision:
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

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


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
