"""The paper's four poolings over time: thin modules around `sercorr.functional`.

All take ``(B, T, D)`` and relative lengths, and ignore padding. Each sets
``pools_clips_independently``: what it makes of a clip depends on that clip alone, so
that `EmotionHead` may hand it the clips of a batch in groups of similar length.

Poolings to compare them with are in `sercorr.lobes.other_poolings`.
"""

import torch
from torch import Tensor, nn

from sercorr import functional
from sercorr.errors import InputError
from sercorr.functional import EPSILON
from sercorr.lengths import count_mask, real_counts


def real_frames(x: Tensor, lengths: Tensor | None, input_size: int) -> Tensor:
    """Say which frames of (B, T, input_size) are real: (B, T), bool."""
    if x.dim() != 3 or x.shape[-1] != input_size:
        raise ValueError(
            f"the input must have shape (B, T, {input_size}) (got {tuple(x.shape)})"
        )
    batch, size, _ = x.shape
    return count_mask(real_counts(lengths, batch, size), size, x.device)


def without_padding(
    x: Tensor, lengths: Tensor | None, input_size: int
) -> tuple[Tensor, Tensor]:
    """Set padding to 0: infinities there would reach the gradients. Also the mask."""
    mask = real_frames(x, lengths, input_size)
    if lengths is not None:
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
    return x, mask


class Pooling(nn.Module):
    """What poolings share: ``input_size``, D channels per frame, and weights of 1/T.

    Each keeps the arguments that it is made with in attributes of the same names, from
    which `sercorr.lobes.described` makes it again.
    """

    def __init__(self, input_size: int):
        super().__init__()
        self.input_size = input_size

    def weights(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The frames' weights (B, T): here 1/T each."""
        return functional.uniform_weights(real_frames(x, lengths, self.input_size))


class MeanPooling(Pooling):
    """Mean over time, equation (2), of ``input_size`` channels.

    Example
    -------
    >>> frames = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> MeanPooling(1)(frames, torch.tensor([2 / 3]))
    tensor([[2.]])
    """

    pools_clips_independently = True

    @property
    def output_size(self) -> int:
        """D."""
        return self.input_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, D)."""
        return functional.weighted_mean(x, self.weights(x, lengths))


class MeanStdPooling(Pooling):
    """Mean and standard deviation (of 1/T) over time, equation (3).

    Example
    -------
    >>> frames = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> MeanStdPooling(1)(frames, torch.tensor([2 / 3]))
    tensor([[2., 1.]])
    """

    pools_clips_independently = True

    @property
    def output_size(self) -> int:
        """2D."""
        return 2 * self.input_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, 2D)."""
        weights = self.weights(x, lengths)
        mean = functional.weighted_mean(x, weights)
        variance = functional.weighted_variance(x, weights)
        return torch.cat([mean, functional.standard_deviation(variance)], dim=-1)


class CorrelationPooling(Pooling):
    """Correlations between channels over time, equations (4) and (5).

    ``input_size`` is D, at least 2, and ``eps`` the epsilon of S = ss' + eps.

    Example
    -------
    >>> frames = torch.tensor([[[1.0, -2.0], [2.0, -4.0], [4.0, -8.0]]])
    >>> CorrelationPooling(2)(frames)
    tensor([[-1.]])
    """

    pools_clips_independently = True

    def __init__(self, input_size: int, eps: float = EPSILON):
        super().__init__(input_size)
        if input_size < 2:
            raise InputError(f"input_size is {input_size}; it must be at least 2")
        self.eps = eps

    @property
    def output_size(self) -> int:
        """D(D-1)/2."""
        return self.input_size * (self.input_size - 1) // 2

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, D(D-1)/2).

        The elements above the diagonal of the correlation matrix, row by row.
        """
        covariance = functional.weighted_covariance(x, self.weights(x, lengths))
        correlations = functional.correlation_matrix(covariance, self.eps)
        return functional.strict_upper_triangle(correlations)


class FrameAttention(nn.Module):
    """An attention over time, whose weights of a clip's frames can be shown.

    ``forward`` turns (B, T, D) and relative lengths (B,) into weights (B, T), whose
    rows sum to 1 and which are exactly 0 on padding.
    """


class CorrelationAttention(FrameAttention):
    """The paper's attention over frames, equations (7) and (8).

    H heads, one set of weights: w = softmax_t(log sum_h exp(q_h' o_t + b_h)), with
    o_t = ReLU(W_att v_t). ``forward`` turns (B, T, D) into weights (B, T) whose rows
    sum to 1 and that are exactly 0 on padding.

    Example
    -------
    >>> attention = CorrelationAttention(4, n_heads=2)
    >>> weights = attention(torch.randn(2, 3, 4), torch.tensor([1.0, 1 / 3]))
    >>> weights[1].tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(self, input_size: int, n_heads: int = 4):
        super().__init__()
        if n_heads < 1:
            raise InputError(f"n_heads is {n_heads}; at least one head is needed")
        self.projection = nn.Linear(input_size, input_size, bias=False)
        self.queries = nn.Linear(input_size, n_heads)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Weigh the frames of (B, T, D), with relative ``lengths`` (B,)."""
        x, mask = without_padding(x, lengths, self.projection.in_features)
        scores = functional.attention_scores(
            x, self.projection.weight, self.queries.weight, self.queries.bias
        )
        return functional.attention_weights(scores, mask)


class AttentiveCorrelationPooling(CorrelationPooling):
    """Correlations between channels, frames weighted by attention: (5) to (8).

    As `CorrelationPooling`, with ``n_heads`` heads H of the attention.

    Example
    -------
    >>> pooling = AttentiveCorrelationPooling(4, n_heads=2)
    >>> pooling(torch.randn(2, 9, 4), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 6])
    """

    pools_clips_independently = True

    def __init__(self, input_size: int, n_heads: int = 4, eps: float = EPSILON):
        super().__init__(input_size, eps)
        self.n_heads = n_heads
        self.attention = CorrelationAttention(input_size, n_heads)

    def weights(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The frames' weights (B, T), from the attention."""
        return self.attention(x, lengths)
