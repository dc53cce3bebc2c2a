"""The upstream at work on one group of clips, in float32 or bfloat16."""

import dataclasses
import itertools
import math

import torch

from sercorr.data.audio import read_audio
from sercorr.errors import InputError
from sercorr.features.plan import Clip, clip_digest
from sercorr.lengths import absolute_to_relative
from sercorr.lobes.upstream.frozen import FrozenUpstream

BF16_LIMIT = 0.03
"""Largest relative error of a layer that bfloat16 may bring; 0.003 to 0.01 is usual."""


@dataclasses.dataclass(frozen=True)
class Computed:
    """A clip's layers (L + 1, T, D), as computed and as they will be stored."""

    clip: Clip
    layers: torch.Tensor
    stored: torch.Tensor
    extremes: tuple[torch.Tensor, torch.Tensor]
    """Smallest and largest of ``stored``; NaN where there is one."""

    def require_finite(self) -> None:
        """Refuse a clip whose stored numbers are not all finite."""
        if all(math.isfinite(number.item()) for number in self.extremes):
            return
        largest = self.layers.abs().max().item()
        if not math.isfinite(largest):
            raise InputError(
                f"{self.clip.part}: the upstream gives features that are not finite "
                "(NaN or infinity) for this clip; check the clip and the model"
            )
        raise InputError(
            f"{self.clip.part}: a feature of size {largest:.6g} is too large for "
            "cache_dtype float16 (65504 at most); set cache_dtype to bfloat16 or "
            "float32"
        )


def read_group(group: list[Clip]) -> list[torch.Tensor]:
    """Read clips, (N_i,) each; an `InputError` if one changed since it was hashed."""
    waves = [read_audio(*clip.part) for clip in group]
    for clip in group:
        if clip_digest(clip.part) != clip.digest:
            raise InputError(
                f"{clip.part}: the file changed while features were extracted; run "
                "the same command again"
            )
    return waves


def compute_group(
    upstream: FrozenUpstream,
    group: list[Clip],
    waves: list[torch.Tensor],
    dtype: torch.dtype,
) -> list[Computed]:
    """Compute a group and convert it to the stored precision.

    All of it is for the thread that computes: another one would have torch start as
    many threads again, and processors share badly between the two teams (10 %).
    """
    computed = []
    for clip, padded in zip(group, compute_layers(upstream, waves), strict=True):
        own = padded[:, : upstream.frames(clip.samples)]
        stored = own.to(dtype).contiguous()
        computed.append(Computed(clip, own, stored, torch.aminmax(stored)))
    return computed


def require_close(
    full: FrozenUpstream, half: FrozenUpstream, groups: list[list[Clip]]
) -> str:
    """Measure the error that bfloat16 brings on some clips, and refuse a large one.

    ``full`` and ``half`` are one upstream in float32 and bfloat16. The error of a layer
    is the norm of the difference over the norm. Returns a sentence with the mean and
    the largest; above `BF16_LIMIT` it is an `InputError`.
    """
    squares = torch.zeros(2, full.num_layers, dtype=torch.float64)
    for group in groups:
        waves = read_group(group)
        wanted = compute_layers(full, waves).double()  # (B, L + 1, T, D)
        for row, values in enumerate((compute_layers(half, waves) - wanted, wanted)):
            squares[row] += values.square().sum(dim=(0, 2, 3)).cpu()
    tiny = torch.finfo(squares.dtype).tiny  # a layer of zeros has no error
    errors = (squares[0] / squares[1].clamp(min=tiny)).sqrt()  # (L + 1,)
    worst = int(errors.nan_to_num(math.inf).argmax())
    if not errors[worst] <= BF16_LIMIT:
        raise InputError(
            f"extract_precision is bf16, but it changes layer {worst} of the features "
            f"by {errors[worst]:.1%} on this machine (at most {BF16_LIMIT:.0%} are "
            "accepted): add --extract_precision fp32"
        )
    return (
        f"bf16: error of the features {errors.mean():.2%} on average over the layers, "
        f"{errors[worst]:.2%} in the worst (of their norm)"
    )


def compute_layers(upstream: FrozenUpstream, waves: list[torch.Tensor]) -> torch.Tensor:
    """Compute the layers of waves (N_i,): (B, L + 1, T, D), float32.

    They are on the upstream's device and 0 behind the end of a clip.
    """
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)  # (B, N)
    samples = torch.tensor([len(wave) for wave in waves])
    relative = absolute_to_relative(samples, padded.shape[1])
    tensors = itertools.chain(upstream.parameters(), upstream.buffers())
    place = next((tensor.device for tensor in tensors), torch.device("cpu"))
    layers, _ = upstream(padded.to(place), relative.to(place))
    return layers
