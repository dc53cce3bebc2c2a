"""The layer average of equation (1) without float32 copies of half-precision layers.

`sercorr.functional.mix_layers` converts all the layers of a clip, both ways; here they
are converted in pieces that stay in the processor's cache, once for any number of
heads.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

_CHUNK = {"cpu": 2**19, "cuda": 2**26}
"""Elements converted to float32 at a time: 2 MB stay in a processor's cache."""


def mix_clips(
    clips: Sequence[torch.Tensor], gammas: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Average the layers of clips of any lengths, with several sets of weights.

    Arguments
    ---------
    clips : sequence of torch.Tensor
        (L, T_i, D) each, of one floating type.
    gammas : torch.Tensor
        (K, L), the gammas of equation (1) in K rows, float32 or wider.

    Returns
    -------
    tuple of torch.Tensor
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
        return _MixClips.apply(gammas.to(dtype), *clips)


class _MixClips(torch.autograd.Function):
    """Weighted sums over the layers of several clips, chunk by chunk.

    Each row of weights is a product of its own, so that its bits do not depend on the
    others. Chunks are batches of frames, so that the core that converts a frame also
    sums it: fetching it from another core can take several times as long.
    """

    @staticmethod
    def forward(
        ctx: Any, gammas: torch.Tensor, *clips: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(gammas, *clips)
        size = clips[0].shape[-1]
        frames = sum(clip.shape[1] for clip in clips)
        mixed = tuple(gammas.new_empty(frames, size) for _ in gammas)
        for start, chunk in _chunks(clips, gammas):
            end = start + len(chunk)
            for row, target in zip(gammas, mixed, strict=True):
                rows = row.expand(len(chunk), 1, -1)
                torch.bmm(rows, chunk, out=target[start:end].unsqueeze(1))
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gammas, *clips = ctx.saved_tensors
        of_mixed = [gradient.contiguous() for gradient in gradients]
        slopes = None
        if ctx.needs_input_grad[0]:
            slopes = torch.zeros_like(gammas)
            for start, chunk in _chunks(clips, gammas):
                end = start + len(chunk)
                for slope, source in zip(slopes, of_mixed, strict=True):
                    columns = source[start:end].unsqueeze(1)
                    products = torch.bmm(columns, chunk.transpose(1, 2))
                    slope.add_(products.sum(dim=(0, 1)))
        of_clips: list[torch.Tensor | None] = [None] * len(clips)
        if any(ctx.needs_input_grad[1:]):
            everything = torch.einsum("ktd,kl->ltd", torch.stack(of_mixed), gammas)
            pieces = everything.split([clip.shape[1] for clip in clips], dim=1)
            of_clips = [
                piece.to(clip.dtype) for clip, piece in zip(clips, pieces, strict=True)
            ]
        return (slopes, *of_clips)


def _chunks(
    clips: Sequence[torch.Tensor], gammas: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first frame, (frames, L, D)) in the type of ``gammas``."""
    start, buffer = 0, None
    for clip in clips:
        layers, frames, size = clip.shape
        if clip.dtype == gammas.dtype and clip.stride(-1) == 1:
            yield start, clip.transpose(0, 1)
            start += frames
            continue
        step = max(_CHUNK.get(clip.device.type, 2**26) // (layers * size), 1)
        step = min(step, frames)
        if buffer is None or len(buffer) < step:
            buffer = gammas.new_empty(step, layers, size)
        for first in range(0, frames, step):
            piece = clip[:, first : first + step].transpose(0, 1)
            chunk = buffer[: len(piece)]
            chunk.copy_(piece)
            yield start, chunk
            start += len(piece)
