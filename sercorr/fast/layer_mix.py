"""The layer average of equation (1) without float32 copies of half-precision layers.

`sercorr.functional.mix_layers` converts all the layers of a clip, both ways; here they
are converted in pieces that stay in the processor's cache, once for any number of
heads.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_CHUNK = {"cpu": 2**19, "cuda": 2**26}
"""Elements converted to float32 at a time: 2 MB stay in a processor's cache."""


def mix_clips(clips: Sequence[Tensor], gammas: Tensor) -> list[Tensor]:
    """Average the layers of clips of any lengths, with several sets of weights.

    Arguments
    ---------
    clips : sequence of torch.Tensor
        (L, T_i, D) each, of one floating type; they get no gradient.
    gammas : torch.Tensor
        (K, L), the gammas of equation (1) in K rows, float32 or wider.

    Returns
    -------
    list of torch.Tensor
        K averages (T_1 + T_2 + ..., D) of the clips one after the other, each to the
        bit what it is without the others.

    Example
    -------
    >>> short, long = torch.ones(2, 1, 3), torch.zeros(2, 4, 3)
    >>> (mixed,) = mix_clips([short, long], torch.tensor([[0.5, 0.5]]))
    >>> mixed.sum(dim=1)
    tensor([3., 0., 0., 0., 0.])
    """
    dtype = torch.promote_types(clips[0].dtype, gammas.dtype)
    with torch.autocast(gammas.device.type, enabled=False):
        return list(_MixClips.apply(gammas.to(dtype), *clips))


class _MixClips(torch.autograd.Function):
    """Weighted sums over the layers of several clips, chunk by chunk.

    Each row of weights is a product of its own, so that its bits do not depend on the
    others. Chunks are batches of frames, so that the core that converts a frame also
    sums it: fetching it from another core can take several times as long.
    """

    @staticmethod
    def forward(ctx: Any, gammas: Tensor, *clips: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(gammas, *clips)
        size = clips[0].shape[-1]
        frames = sum(clip.shape[1] for clip in clips)
        mixed = tuple(gammas.new_empty(frames, size) for _ in gammas)
        for place, chunk in _chunks(clips, gammas):
            for row, target in zip(gammas, mixed, strict=True):
                rows = row.expand(len(chunk), 1, -1)
                torch.bmm(rows, chunk, out=target[place].unsqueeze(1))
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gammas, *clips = ctx.saved_tensors
        gradients = tuple(gradient.contiguous() for gradient in gradients)
        slopes = torch.zeros_like(gammas)
        for place, chunk in _chunks(clips, gammas):
            for slope, gradient in zip(slopes, gradients, strict=True):
                rows = gradient[place].unsqueeze(1)
                slope.add_(torch.bmm(rows, chunk.transpose(1, 2)).sum(dim=(0, 1)))
        return (slopes, *[None] * len(clips))


def _chunks(clips: Sequence[Tensor], gammas: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield places and frames (n, L, D) in the type of ``gammas``."""
    layers, _, size = clips[0].shape
    longest = max(clip.shape[1] for clip in clips)
    step = max(_CHUNK.get(gammas.device.type, 2**26) // (layers * size), 1)
    buffer = gammas.new_empty(min(step, longest), layers, size)
    start = 0
    for clip in clips:
        ready = clip.dtype == gammas.dtype and clip.stride(-1) == 1
        for piece in [clip] if ready else clip.split(step, dim=1):
            frames = piece.transpose(0, 1)  # (n, L, D)
            if not ready:
                frames = buffer[: len(frames)].copy_(frames)
            yield slice(start, start + len(frames)), frames
            start += len(frames)
