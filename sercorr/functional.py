"""The paper's statistics as pure functions: equations (1) to (8).

Every pooling rests on one function, `weighted_moments`; a mask is a weight. The
statistics are computed in float32 at least, whatever the autocast: the products
inside a covariance lose too many digits in half precision.

Source: Kakouros et al., ICASSP 2023, section 3. Equation (9), label smoothing, is
``torch.nn.functional.cross_entropy(..., label_smoothing=p)``.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F

EPSILON = 1e-8
"""The paper's epsilon in S = ss' + epsilon, below equation (5)."""


_CHUNK = {"cpu": 2**19, "cuda": 2**26}
"""Elements converted to float32 at a time: 2 MB stay in a processor's cache."""


class _LayerMix(torch.autograd.Function):
    """Weighted sums over the layers of several clips, chunk by chunk.

    Plain autograd on ``(weights * layers).sum(0)`` makes a float32 copy of all the
    layers both ways; here half-precision layers are read as they are. Each row of
    weights is a product of its own, so that its bits do not depend on the others.
    """

    @staticmethod
    def forward(ctx, weights: torch.Tensor, *clips: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weights, *clips)
        size = clips[0].shape[-1]
        frames = sum(clip.shape[1] for clip in clips)
        mixed = weights.new_empty(len(weights), frames, size)
        for start, chunk in _chunks(clips, weights):
            end = start + chunk.shape[1] // size
            for row, target in zip(weights, mixed, strict=True):
                torch.mv(chunk.t(), row, out=target[start:end].view(-1))
        return mixed

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weights, *clips = ctx.saved_tensors
        gradient = gradient.to(weights.dtype).contiguous()
        slopes = None
        if ctx.needs_input_grad[0]:
            slopes = torch.zeros_like(weights)
            size = clips[0].shape[-1]
            for start, chunk in _chunks(clips, weights):
                end = start + chunk.shape[1] // size
                for slope, source in zip(slopes, gradient, strict=True):
                    slope.addmv_(chunk, source[start:end].view(-1))
        pieces = gradient.split([clip.shape[1] for clip in clips], dim=1)
        of_clips = [
            torch.einsum("ktd,kl->ltd", piece, weights).to(clip.dtype)
            if needed
            else None
            for clip, piece, needed in zip(
                clips, pieces, ctx.needs_input_grad[1:], strict=True
            )
        ]
        return (slopes, *of_clips)


def _chunks(
    clips: Sequence[torch.Tensor], weights: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first frame, (L, frames * D)) in the type of ``weights``."""
    start, buffer = 0, None
    for clip in clips:
        layers, frames, size = clip.shape
        step = max(_CHUNK.get(clip.device.type, 2**26) // (layers * size), 1)
        if clip.dtype == weights.dtype and clip.is_contiguous():
            yield start, clip.view(layers, -1)
            start += frames
            continue
        if buffer is None or buffer.numel() < layers * min(step, frames) * size:
            buffer = weights.new_empty(layers * min(step, frames) * size)
        for first in range(0, frames, step):
            piece = clip[:, first : first + step]
            chunk = buffer[: piece.numel()].view(layers, -1)
            chunk.view(piece.shape).copy_(piece)
            yield start, chunk
            start += piece.shape[1]


def mix_clips(clips: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    """Average the layers of clips of any lengths, equation (1).

    Arguments
    ---------
    clips : sequence of torch.Tensor
        (L, T_i, D) each, all of one floating type.
    weights : torch.Tensor
        (L,), the gammas of equation (1), or (K, L) for K averages at once; the sums
        are made in the wider of its type and that of the clips.

    Returns
    -------
    torch.Tensor
        (T_1 + T_2 + ..., D), the clips one after the other; with K rows of weights,
        (K, T_1 + T_2 + ..., D), each to the bit what it is alone.

    Example
    -------
    >>> short, long = torch.ones(2, 1, 3), torch.zeros(2, 4, 3)
    >>> mix_clips([short, long], torch.tensor([0.5, 0.5])).sum(dim=1)
    tensor([3., 0., 0., 0., 0.])
    """
    num_layers = weights.shape[-1]
    for clip in clips:
        if clip.dim() != 3 or len(clip) != num_layers or clip.shape[1] < 1:
            raise ValueError(
                f"clips must have shape ({num_layers}, T, D) (got {tuple(clip.shape)})"
            )
    dtype = torch.promote_types(clips[0].dtype, weights.dtype)
    rows = weights.to(dtype).reshape(-1, num_layers)
    with torch.autocast(weights.device.type, enabled=False):
        mixed = _LayerMix.apply(rows, *clips)
    return mixed if weights.dim() == 2 else mixed[0]


def mix_layers(layers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Average the layers of a padded batch, equation (1).

    Arguments
    ---------
    layers : torch.Tensor
        (B, L, T, D), of any floating type.
    weights : torch.Tensor
        (L,), see `mix_clips`.

    Returns
    -------
    torch.Tensor
        (B, T, D).

    Example
    -------
    >>> layers = torch.tensor([[[[1.0]], [[3.0]]]])  # one item, two layers
    >>> mix_layers(layers, torch.tensor([0.25, 0.75]))
    tensor([[[2.5000]]])
    """
    if layers.dim() != 4 or layers.shape[1] != len(weights):
        raise ValueError(
            f"layers must have shape (B, {len(weights)}, T, D) "
            f"(got {tuple(layers.shape)})"
        )
    batch, _, frames, size = layers.shape
    return mix_clips(layers.unbind(0), weights).view(batch, frames, size)


def weighted_moments(
    frames: torch.Tensor,
    weights: torch.Tensor,
    second: Literal["none", "variance", "covariance"] = "none",
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weighted mean and second central moment over time, equations (2) to (6).

    Frames of weight 0 do not exist: even infinities and NaN in them change nothing.
    A constant channel has a variance of exactly 0.

    Arguments
    ---------
    frames : torch.Tensor
        (B, T, D).
    weights : torch.Tensor
        (B, T), not negative, each row summing to 1.
    second : str
        ``none``, ``variance`` (the diagonal) or ``covariance`` (the matrix).

    Returns
    -------
    tuple
        The mean (B, D), and None, the variance (B, D) or the covariance (B, D, D).

    Raises
    ------
    ValueError
        Shapes do not fit, or ``second`` is none of the three.

    Example
    -------
    >>> frames = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> weights = torch.tensor([[0.5, 0.5, 0.0]])
    >>> mean, variance = weighted_moments(frames, weights, "variance")
    >>> mean.item(), variance.item()
    (2.0, 1.0)
    """
    if frames.dim() != 3 or weights.shape != frames.shape[:2]:
        raise ValueError(
            "frames must have shape (B, T, D) and weights (B, T) "
            f"(got {tuple(frames.shape)} and {tuple(weights.shape)})"
        )
    if second not in ("none", "variance", "covariance"):
        raise ValueError(f"second must be none, variance or covariance (got {second})")
    with torch.autocast(frames.device.type, enabled=False):
        frames, weights = _at_least_float32(frames), _at_least_float32(weights)
        # The mean is taken relative to each channel's first real frame: a constant
        # channel then centres to exactly 0, where a rounded mean would leave a
        # residue that the correlation blows up to anything in [-1, 1].
        first = weights.gt(0).float().argmax(dim=1)  # (B,)
        origin = frames.detach()[torch.arange(len(frames)), first].unsqueeze(1)
        shifted = (frames - origin).masked_fill_((weights == 0).unsqueeze(-1), 0.0)
        shift = torch.bmm(weights.unsqueeze(1), shifted)  # (B, 1, D)
        mean = (origin + shift).squeeze(1)
        if second == "none":
            return mean, None
        centred = shifted - shift  # (B, T, D); padding is weighted by 0 below
        weighted = weights.unsqueeze(-1) * centred
        if second == "variance":
            return mean, (weighted * centred).sum(dim=1)
        return mean, torch.bmm(weighted.transpose(1, 2), centred)


def standard_deviation(variance: torch.Tensor) -> torch.Tensor:
    """Square root whose gradient at 0 is 0 instead of infinite.

    Example
    -------
    >>> variance = torch.tensor([4.0, 0.0], requires_grad=True)
    >>> deviation = standard_deviation(variance)
    >>> deviation.sum().backward()
    >>> deviation.tolist(), variance.grad.tolist()
    ([2.0, 0.0], [0.25, 0.0])
    """
    positive = variance > 0
    root = torch.where(positive, variance, torch.ones_like(variance)).sqrt()
    return torch.where(positive, root, torch.zeros_like(root))


def correlation_matrix(covariance: torch.Tensor, eps: float = EPSILON) -> torch.Tensor:
    """Normalise covariances to correlations, equation (5).

    C = Sigma / (ss' + eps), with s the standard deviations. A channel without
    variance correlates with nothing: 0.

    Arguments
    ---------
    covariance : torch.Tensor
        (B, D, D).
    eps : float
        Added to each product of deviations, as the paper does; not to the variances.

    Returns
    -------
    torch.Tensor
        (B, D, D).

    Example
    -------
    >>> correlation_matrix(torch.tensor([[[4.0, 3.0], [3.0, 9.0]]]))[0, 0, 1]
    tensor(0.5000)
    """
    deviation = standard_deviation(covariance.diagonal(dim1=-2, dim2=-1))
    return covariance / (deviation.unsqueeze(-1) * deviation.unsqueeze(-2) + eps)


def strict_upper_triangle(matrices: torch.Tensor) -> torch.Tensor:
    """List the elements above the diagonal, row by row.

    Arguments
    ---------
    matrices : torch.Tensor
        (B, D, D).

    Returns
    -------
    torch.Tensor
        (B, D(D-1)/2).

    Example
    -------
    >>> strict_upper_triangle(torch.arange(9).reshape(1, 3, 3))
    tensor([[1, 2, 5]])
    """
    size = matrices.shape[-1]
    rows, columns = torch.triu_indices(size, size, offset=1, device=matrices.device)
    return matrices.flatten(1).index_select(1, rows * size + columns)


def attention_weights(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pool the heads' scores and normalise over time, equations (7) and (8).

    a_t = log sum_h exp(score_{t,h}); w = softmax over the real frames.

    Arguments
    ---------
    scores : torch.Tensor
        (B, T, H): q_h' o_t + b_h.
    mask : torch.Tensor
        (B, T), bool, True on real frames; at least one a row.

    Returns
    -------
    torch.Tensor
        (B, T), float32 at least; rows sum to 1; exactly 0 where ``mask`` is False.

    Example
    -------
    >>> scores = torch.zeros(1, 3, 2)
    >>> attention_weights(scores, torch.tensor([[True, True, False]]))
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    with torch.autocast(scores.device.type, enabled=False):
        logits = torch.logsumexp(_at_least_float32(scores), dim=-1)  # (B, T)
        return F.softmax(logits.masked_fill(~mask, float("-inf")), dim=-1)


def _at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
