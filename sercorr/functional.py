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
from torch.autograd.function import once_differentiable

EPSILON = 1e-8
"""The paper's epsilon in S = ss' + epsilon, below equation (5)."""


_CHUNK = {"cpu": 2**19, "cuda": 2**26}
"""Elements converted to float32 at a time: 2 MB stay in a processor's cache."""


class _LayerMix(torch.autograd.Function):
    """Weighted sums over the layers of several clips, chunk by chunk.

    Plain autograd on ``(weights * layers).sum(0)`` makes a float32 copy of all the
    layers both ways; here half-precision layers are read as they are. Each row of
    weights is a product of its own, so that its bits do not depend on the others.
    Chunks are batches of frames, so that the core that converts a frame also sums it:
    fetching it from another core can take several times as long.
    """

    @staticmethod
    def forward(
        ctx, weights: torch.Tensor, *clips: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(weights, *clips)
        size = clips[0].shape[-1]
        frames = sum(clip.shape[1] for clip in clips)
        mixed = tuple(weights.new_empty(frames, size) for _ in weights)
        for start, chunk in _chunks(clips, weights):
            end = start + len(chunk)
            for row, target in zip(weights, mixed, strict=True):
                rows = row.expand(len(chunk), 1, -1)
                torch.bmm(rows, chunk, out=target[start:end].unsqueeze(1))
        return mixed

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weights, *clips = ctx.saved_tensors
        gradients = [gradient.contiguous() for gradient in gradients]
        slopes = None
        if ctx.needs_input_grad[0]:
            slopes = torch.zeros_like(weights)
            for start, chunk in _chunks(clips, weights):
                end = start + len(chunk)
                for slope, source in zip(slopes, gradients, strict=True):
                    columns = source[start:end].unsqueeze(1)
                    products = torch.bmm(columns, chunk.transpose(1, 2))
                    slope.add_(products.sum(dim=(0, 1)))
        of_clips: list[torch.Tensor | None] = [None] * len(clips)
        if any(ctx.needs_input_grad[1:]):
            everything = torch.einsum("ktd,kl->ltd", torch.stack(gradients), weights)
            pieces = everything.split([clip.shape[1] for clip in clips], dim=1)
            of_clips = [
                piece.to(clip.dtype) for clip, piece in zip(clips, pieces, strict=True)
            ]
        return (slopes, *of_clips)


def _chunks(
    clips: Sequence[torch.Tensor], weights: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first frame, (frames, L, D)) in the type of ``weights``."""
    start, buffer = 0, None
    for clip in clips:
        layers, frames, size = clip.shape
        if clip.dtype == weights.dtype and clip.stride(-1) == 1:
            yield start, clip.transpose(0, 1)
            start += frames
            continue
        step = max(_CHUNK.get(clip.device.type, 2**26) // (layers * size), 1)
        step = min(step, frames)
        if buffer is None or len(buffer) < step:
            buffer = weights.new_empty(step, layers, size)
        for first in range(0, frames, step):
            piece = clip[:, first : first + step].transpose(0, 1)
            chunk = buffer[: len(piece)]
            chunk.copy_(piece)
            yield start, chunk
            start += len(piece)


def mix_clips(
    clips: Sequence[torch.Tensor], weights: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Average the layers of clips of any lengths, equation (1), with several weights.

    Arguments
    ---------
    clips : sequence of torch.Tensor
        (L, T_i, D) each, all of one floating type.
    weights : torch.Tensor
        (K, L), the gammas of equation (1) in K rows; the sums are made in the wider
        of its type and that of the clips.

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
    num_layers = weights.shape[1]
    for clip in clips:
        if clip.dim() != 3 or len(clip) != num_layers or clip.shape[1] < 1:
            raise ValueError(
                f"clips must have shape ({num_layers}, T, D) (got {tuple(clip.shape)})"
            )
    dtype = torch.promote_types(clips[0].dtype, weights.dtype)
    with torch.autocast(weights.device.type, enabled=False):
        return _LayerMix.apply(weights.to(dtype), *clips)


def mix_layers(layers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Average the layers of a padded batch, equation (1).

    Arguments
    ---------
    layers : torch.Tensor
        (B, L, T, D), of any floating type.
    weights : torch.Tensor
        (L,), the gammas; see `mix_clips`.

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
    (mixed,) = mix_clips(layers.unbind(0), weights.unsqueeze(0))
    return mixed.view(batch, frames, size)


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
        if second == "covariance":
            return _MeanAndCovariance.apply(frames, weights)
        shifted, shift, mean = _shift(frames, weights)
        if second == "none":
            return mean, None
        centred = shifted - shift
        return mean, (weights.unsqueeze(-1) * centred * centred).sum(dim=1)


def _shift(
    frames: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Take frames relative to each channel's first real one, 0 where the weight is 0.

    Returns them (B, T, D), their weighted mean (B, 1, D), and that of the frames
    themselves (B, D). The difference of the first two is centred: exactly 0 for a
    constant channel, where a rounded mean would leave a residue that the correlation
    blows up to anything in [-1, 1].
    """
    first = weights.gt(0).float().argmax(dim=1)  # (B,)
    origin = frames.detach()[torch.arange(len(frames)), first].unsqueeze(1)
    shifted = (frames - origin).masked_fill_((weights == 0).unsqueeze(-1), 0.0)
    shift = torch.bmm(weights.unsqueeze(1), shifted)  # (B, 1, D)
    return shifted, shift, (origin + shift).squeeze(1)


class _MeanAndCovariance(torch.autograd.Function):
    """Weighted mean and covariance with the gradient written out.

    With c_t = v_t - mu and S = G + G', where G is the gradient of Sigma: that of v_t is
    w_t S c_t, and that of w_t is c_t' S c_t / 2. What goes through mu cancels, because
    sum_t w_t c_t = 0. Autograd would make two products for the one with S, and keep
    every step in between.
    """

    @staticmethod
    def forward(
        ctx, frames: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shifted, shift, mean = _shift(frames, weights)
        centred = shifted - shift  # finite on padding, which is weighted by 0
        ctx.save_for_backward(centred, weights)
        ctx.set_materialize_grads(False)
        weighted = weights.unsqueeze(-1) * centred
        return mean, torch.bmm(weighted.transpose(1, 2), centred)

    @staticmethod
    @once_differentiable
    def backward(
        ctx, of_mean: torch.Tensor | None, of_covariance: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if of_mean is None and of_covariance is None:
            return None, None
        centred, weights = ctx.saved_tensors
        slope, of_weights = centred.new_zeros(()), torch.zeros_like(weights)
        if of_covariance is not None:
            both = of_covariance + of_covariance.transpose(1, 2)
            slope = torch.bmm(centred, both)  # (B, T, D)
            if ctx.needs_input_grad[1]:
                of_weights = (slope * centred).sum(dim=-1) / 2
        if of_mean is not None:
            slope = slope + of_mean.unsqueeze(1)
            of_weights = of_weights + torch.einsum("btd,bd->bt", centred, of_mean)
        return slope * weights.unsqueeze(-1), of_weights


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
