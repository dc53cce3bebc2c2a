"""The upstream at work on one group of clips, in float32 or bfloat16."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from speechbrain.utils.logger import get_logger

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_audio
from sercorr.data.digests import clip_digest
from sercorr.errors import InputError
from sercorr.features.plan import Clip
from sercorr.lengths import absolute_to_relative
from sercorr.lobes.upstream.frozen import FrozenUpstream

logger = get_logger(__name__)

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
    layers = compute_layers(upstream, waves, [str(clip.part) for clip in group])
    for clip, padded in zip(group, layers, strict=True):
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
            "extract_precision is bf16, but it changes layer "
            f"{full.info.layer_numbers[worst]} of the features "
            f"by {errors[worst]:.1%} on this machine (at most {BF16_LIMIT:.0%} are "
            "accepted): add --extract_precision fp32"
        )
    return (
        f"bf16: error of the features {errors.mean():.2%} on average over the layers, "
        f"{errors[worst]:.2%} in the worst (of their norm)"
    )


def compute_layers(
    upstream: FrozenUpstream, waves: list[torch.Tensor], names: Sequence[str] = ()
) -> torch.Tensor:
    """Compute the layers of waves (N_i,): (B, L + 1, T, D), float32.

    They are on the upstream's device and 0 behind the end of a clip. Where memory does
    not suffice, the first and the second half of the clips are computed one after the
    other, and so on; for one clip alone it is an `InputError`, which tells its name.
    """
    place = _device_of(upstream)
    try:
        return _compute_padded(upstream, waves, place)
    except torch.OutOfMemoryError:
        pass  # what is done here would keep what was computed so far in memory
    if place.type == "cuda":
        torch.cuda.empty_cache()
    if len(waves) == 1:
        name = names[0] if names else "a clip"
        raise InputError(
            f"{name}: the memory of {place} does not suffice for a clip of "
            f"{len(waves[0]) / SAMPLE_RATE:.1f} s: take a GPU with more memory or "
            "--device cpu, or leave the clip out"
        )
    logger.warning_once(
        "the memory of %s does not suffice for a group of clips: such groups are "
        "computed in halves, which can change last bits; a smaller max_batch_seconds "
        "makes smaller groups",
        place,
    )
    half = len(waves) // 2
    parts = [
        compute_layers(upstream, waves[part], names[part])
        for part in (slice(half), slice(half, None))
    ]
    longest = max(part.shape[2] for part in parts)
    return torch.cat(
        [F.pad(part, (0, 0, 0, longest - part.shape[2])) for part in parts]
    )


def _compute_padded(
    upstream: FrozenUpstream, waves: list[torch.Tensor], place: torch.device
) -> torch.Tensor:
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)  # (B, N)
    samples = torch.tensor([len(wave) for wave in waves])
    relative = absolute_to_relative(samples, padded.shape[1])
    layers, _ = upstream(padded.to(place), relative.to(place))
    return layers


def _device_of(upstream: FrozenUpstream) -> torch.device:
    tensors = itertools.chain(upstream.parameters(), upstream.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
