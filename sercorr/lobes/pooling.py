"""The four poolings over time: thin modules around `sercorr.functional`.

All take ``(B, T, D)`` and relative lengths, and ignore padding. Each sets
``pools_clips_independently``: what it makes of a clip depends on that clip alone, so
that `EmotionHead` may hand it the clips of a batch in groups of similar length.
"""

import torch
from torch import nn

from sercorr import functional
from sercorr.errors import InputError
from sercorr.functional import EPSILON
from sercorr.lengths import frame_mask


class _Pooling(nn.Module):
    def __init__(self, input_size: int):
        super().__init__()
        if input_size < 1:
            raise InputError(f"input_size is {input_size}; it must be at least 1")
        self.input_size = input_size

    def _mask(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        if x.dim() != 3 or x.shape[-1] != self.input_size:
            raise ValueError(
                f"the input must have shape (B, T, {self.input_size}) "
                f"(got {tuple(x.shape)})"
            )
        return frame_mask(lengths, x.shape[0], x.shape[1], x.device)

    def _uniform(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        return functional.uniform_weights(self._mask(x, lengths))


class MeanPooling(_Pooling):
    """Mean over time, equation (2).

    Arguments
    ---------
    input_size : int
        D, channels per frame.

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

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, D)."""
        return functional.weighted_mean(x, self._uniform(x, lengths))


class MeanStdPooling(_Pooling):
    """Mean and standard deviation (of 1/T) over time, equation (3).

    Arguments
    ---------
    input_size : int
        D, channels per frame.

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

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, 2D)."""
        weights = self._uniform(x, lengths)
        mean = functional.weighted_mean(x, weights)
        variance = functional.weighted_variance(x, weights)
        return torch.cat([mean, functional.standard_deviation(variance)], dim=-1)


class CorrelationPooling(_Pooling):
    """Correlations between channels over time, equations (4) and (5).

    Arguments
    ---------
    input_size : int
        D, channels per frame; at least 2.
    eps : float
        Epsilon of S = ss' + eps.

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

    def weights(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """The frames' weights (B, T): here 1/T each."""
        return self._uniform(x, lengths)

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, D(D-1)/2).

        The elements above the diagonal of the correlation matrix, row by row.
        """
        covariance = functional.weighted_covariance(x, self.weights(x, lengths))
        correlations = functional.correlation_matrix(covariance, self.eps)
        return functional.strict_upper_triangle(correlations)


class CorrelationAttention(_Pooling):
    """The paper's attention over frames, equations (7) and (8).

    Several heads, one set of weights: w = softmax_t(log sum_h exp(q_h' o_t + b_h)),
    with o_t = ReLU(W_att v_t).

    Arguments
    ---------
    input_size : int
        D.
    n_heads : int
        H.

    Example
    -------
    >>> attention = CorrelationAttention(4, n_heads=2)
    >>> weights = attention(torch.randn(2, 3, 4), torch.tensor([1.0, 1 / 3]))
    >>> weights[1].tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(self, input_size: int, n_heads: int = 4):
        super().__init__(input_size)
        if n_heads < 1:
            raise InputError(f"n_heads is {n_heads}; at least one head is needed")
        self.projection = nn.Linear(input_size, input_size, bias=False)
        self.queries = nn.Linear(input_size, n_heads)

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Weigh the frames of (B, T, D).

        Arguments
        ---------
        x : torch.Tensor
            (B, T, D).
        lengths : torch.Tensor or None
            (B,), relative.

        Returns
        -------
        torch.Tensor
            (B, T): rows sum to 1, exactly 0 on padding.
        """
        mask = self._mask(x, lengths)
        if lengths is not None:  # infinities on padding would reach the gradients
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        scores = functional.attention_scores(
            x, self.projection.weight, self.queries.weight, self.queries.bias
        )
        return functional.attention_weights(scores, mask)


class AttentiveCorrelationPooling(CorrelationPooling):
    """Correlations between channels, frames weighted by attention: (5) to (8).

    Arguments
    ---------
    input_size : int
        D, channels per frame; at least 2.
    n_heads : int
        H, heads of the attention.
    eps : float
        Epsilon of S = ss' + eps.

    Example
    -------
    >>> pooling = AttentiveCorrelationPooling(4, n_heads=2)
    >>> pooling(torch.randn(2, 9, 4), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 6])
    """

    pools_clips_independently = True

    def __init__(self, input_size: int, n_heads: int = 4, eps: float = EPSILON):
        super().__init__(input_size, eps)
        self.attention = CorrelationAttention(input_size, n_heads)

    def weights(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """The frames' weights (B, T), from the attention."""
        return self.attention(x, lengths)


POOLINGS = ("mean", "mean_std", "corr", "attentive_corr")
"""Names that `make_pooling` knows."""


def make_pooling(name: str, input_size: int, n_heads: int = 4) -> nn.Module:
    """Make a pooling by its name in the settings.

    Arguments
    ---------
    name : str
        ``mean``, ``mean_std``, ``corr`` or ``attentive_corr``.
    input_size : int
        D, channels per frame.
    n_heads : int
        H; used by ``attentive_corr`` alone.

    Raises
    ------
    InputError
        The name is none of the four.

    Example
    -------
    >>> [make_pooling(name, 256).output_size for name in POOLINGS]
    [256, 512, 32640, 32640]
    """
    if name == "mean":
        return MeanPooling(input_size)
    if name == "mean_std":
        return MeanStdPooling(input_size)
    if name == "corr":
        return CorrelationPooling(input_size)
    if name == "attentive_corr":
        return AttentiveCorrelationPooling(input_size, n_heads)
    raise InputError(f"pooling is {name!r}; it must be one of {', '.join(POOLINGS)}")
