"""Poolings of other papers, to compare the paper's with.

They keep the contract of `sercorr.lobes.pooling`: padding changes nothing, and what
they make of silence, of a single frame, and of channels that are constant or dropped
is finite, as are the gradients.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from sercorr import functional
from sercorr.errors import InputError
from sercorr.functional import EPSILON
from sercorr.lobes.pooling import (
    CorrelationPooling,
    FrameAttention,
    MeanStdPooling,
    Pooling,
    without_padding,
)


class MeanCorrelationPooling(CorrelationPooling):
    """Mean over time, then the correlations: (2) beside (4) and (5).

    Tells whether correlations add to first-order statistics or replace them.

    Example
    -------
    >>> frames = torch.tensor([[[1.0, -2.0], [2.0, -4.0], [6.0, -12.0]]])
    >>> MeanCorrelationPooling(2)(frames).round(decimals=4)
    tensor([[ 3., -6., -1.]])
    """

    pools_clips_independently = True

    @property
    def output_size(self) -> int:
        """D + D(D-1)/2."""
        return self.input_size + super().output_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, D + D(D-1)/2)."""
        mean = functional.weighted_mean(x, self.weights(x, lengths))
        return torch.cat([mean, super().forward(x, lengths)], dim=-1)


class StatsAttention(FrameAttention):
    """The attention of attentive statistics pooling: w = softmax_t(v' tanh(W h_t + b)).

    The source adds a constant k to each score, which the softmax takes away again.

    Example
    -------
    >>> attention = StatsAttention(4, hidden_size=3)
    >>> attention(torch.randn(2, 3, 4), torch.tensor([1.0, 1 / 3]))[1].tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden = nn.Linear(input_size, hidden_size)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Weigh the frames of (B, T, D), with relative ``lengths`` (B,)."""
        x, mask = without_padding(x, lengths, self.hidden.in_features)
        scores = self.score(torch.tanh(self.hidden(x))).squeeze(-1)
        return functional.attention_weights(scores, mask)


class AttentiveStatsPooling(MeanStdPooling):
    """Mean and standard deviation over time, frames weighted by attention.

    Source: Okabe, Koshinaka and Shinoda, "Attentive Statistics Pooling for Deep
    Speaker Embedding", Interspeech 2018. One weight per frame, for all channels, as
    there. The deviation of a constant channel is 0, with a gradient of 0.

    ``hidden_size`` are the units between frame and score; that they are 128 is
    SpeechBrain's choice in ECAPA-TDNN.

    Example
    -------
    >>> pooling = AttentiveStatsPooling(4)
    >>> pooling(torch.randn(2, 9, 4), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 8])
    """

    pools_clips_independently = True

    def __init__(self, input_size: int, hidden_size: int = 128):
        super().__init__(input_size)
        self.hidden_size = hidden_size
        self.attention = StatsAttention(input_size, hidden_size)

    def weights(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The frames' weights (B, T), from the attention."""
        weights: Tensor = self.attention(x, lengths)
        return weights


class FactorisedAttention(FrameAttention):
    """The attention of MHFA: for head h, w_h = softmax_t(q_h' S_k v_t).

    ``forward`` gives the mean of the heads' weights (B, T), `head_weights` them all.

    Example
    -------
    >>> attention = FactorisedAttention(4, n_heads=2, compression_size=3)
    >>> attention(torch.randn(2, 3, 4), torch.tensor([1.0, 1 / 3]))[1].tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(self, input_size: int, n_heads: int, compression_size: int):
        super().__init__()
        if n_heads < 1:
            raise InputError(f"n_heads is {n_heads}; at least one head is needed")
        self.keys = nn.Linear(input_size, compression_size, bias=False)
        self.queries = nn.Linear(compression_size, n_heads, bias=False)

    def head_weights(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weigh the frames of (B, T, D) for each head: (B, H, T)."""
        scores = self.queries(self.keys(x)).transpose(1, 2)
        return functional.attention_weights(scores, mask.unsqueeze(1))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Weigh the frames of (B, T, D), with relative ``lengths`` (B,)."""
        x, mask = without_padding(x, lengths, self.keys.in_features)
        return self.head_weights(x, mask).mean(dim=1)


class FactorisedAttentionPooling(Pooling):
    """Multi-head factorised attention (MHFA): each head's mean of compressed frames.

    Source: Peng, Plchot, Stafylakis, Mosner, Burget and Cernocky, "An attention-based
    backend allowing efficient fine-tuning of transformer models for speaker
    verification", SLT 2022. Keys S_k v_t decide the weights, values S_v v_t are
    averaged with them, and the means of all heads are concatenated.

    Different from there: theirs mixes the upstream's layers twice, once for the keys
    and once for the values; here the head has mixed them already, once for both, and
    projected them. Biases are left out, for they would change nothing: a softmax over
    time takes away those of keys and queries, and the classifier, into which their
    last linear layer merges, has its own.

    Arguments
    ---------
    input_size : int
        D.
    n_heads : int
        H.
    compression_size : int
        C, the channels of a key and of a value.

    Example
    -------
    >>> pooling = FactorisedAttentionPooling(4, n_heads=2, compression_size=3)
    >>> pooling(torch.randn(2, 9, 4), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 6])
    """

    pools_clips_independently = True

    def __init__(self, input_size: int, n_heads: int = 4, compression_size: int = 128):
        super().__init__(input_size)
        self.n_heads = n_heads
        self.compression_size = compression_size
        self.attention = FactorisedAttention(input_size, n_heads, compression_size)
        self.values = nn.Linear(input_size, compression_size, bias=False)

    @property
    def output_size(self) -> int:
        """HC."""
        return self.n_heads * self.compression_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, HC), head by head."""
        x, mask = without_padding(x, lengths, self.input_size)
        weights = self.attention.head_weights(x, mask)
        values = self.values(x).to(weights.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return (weights @ values).flatten(1)


class LogCovariancePooling(Pooling):
    """Covariances between channels over time, in the log-Euclidean metric.

    Log(Sigma + c I), where Log is the matrix logarithm: its diagonal, then the elements
    above it, row by row, times sqrt(2), so that the Euclidean distance of two results
    is that of the two matrices.

    Source: Li, Qian and Song, "Geometric Second-Order Feature Correlation Learning for
    Self-Supervised Speech Emotion Recognition", arXiv 2606.06550, 2026, which maps
    covariance descriptors by the matrix logarithm to the tangent space. Only its
    abstract was at hand. What it leaves open is decided here: no attention; Sigma is
    that of equation (4); and c = eps trace(Sigma) / D + 1e-8. A clip with fewer frames
    than channels has a singular Sigma, whose logarithm needs a c > 0; relative to the
    mean variance, it makes a louder clip differ in the diagonal alone.

    Computed in float64: an eigenvalue of 0 is known to some 1e-7 of the largest one
    in float32, which is not small beside c. A channel that is dropped in training
    changes from its own variance to c, and is not left out as a correlation of 0 is.

    Arguments
    ---------
    input_size : int
        D.
    eps : float
        What is added to the variances, as a share of their mean.

    Example
    -------
    >>> frames = torch.tensor([[[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
    >>> LogCovariancePooling(2, eps=0.0)(frames).exp()  # variances 9/2 and 1/2
    tensor([[4.5000, 0.5000, 1.0000]])
    """

    pools_clips_independently = True

    def __init__(self, input_size: int, eps: float = 1e-3):
        super().__init__(input_size)
        self.eps = eps

    @property
    def output_size(self) -> int:
        """D(D+1)/2."""
        return self.input_size * (self.input_size + 1) // 2

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool (B, T, D) with relative ``lengths`` (B,) to (B, D(D+1)/2)."""
        covariance = functional.weighted_covariance(
            x.double(), self.weights(x, lengths)
        )
        variances = covariance.diagonal(dim1=-2, dim2=-1)
        added = self.eps * variances.mean(-1) + EPSILON  # (B,)
        identity = torch.eye(self.input_size, dtype=added.dtype, device=x.device)
        logarithm = matrix_log(covariance + added[:, None, None] * identity)
        above = math.sqrt(2) * functional.strict_upper_triangle(logarithm)
        flat = torch.cat([logarithm.diagonal(dim1=-2, dim2=-1), above], dim=-1)
        return flat.to(torch.promote_types(x.dtype, torch.float32))


def matrix_log(matrices: Tensor) -> Tensor:
    """Logarithms of symmetric positive definite matrices (B, D, D).

    A matrix that is not finite gives NaN, where LAPACK would raise an error. The
    gradient is right for repeated eigenvalues too, for which torch's own of `eigh`
    divides by 0.

    Example
    -------
    >>> matrix_log(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]))
    tensor([[[0.6931, 0.0000],
             [0.0000, 0.0000]]])
    """
    logarithms: Tensor = _MatrixLog.apply(matrices)
    return logarithms


class _MatrixLog(torch.autograd.Function):
    """U log(l) U', and its derivative by the theorem of Daleckii and Krein.

    That is U (K * (U' G U)) U', where K_ij = (log l_i - log l_j) / (l_i - l_j) are the
    divided differences of the logarithm, 1 / l_i where l_i = l_j (Higham, "Functions
    of Matrices", 2008, theorem 3.11).
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> Tensor:
        finite = matrices.isfinite().flatten(1).all(1)[:, None, None]
        identity = torch.eye(
            matrices.shape[-1], dtype=matrices.dtype, device=matrices.device
        )
        values, vectors = torch.linalg.eigh(matrices.where(finite, identity))
        ctx.save_for_backward(values, vectors)
        logarithms = (vectors * values.log().unsqueeze(-2)) @ vectors.mT
        return logarithms.where(finite, torch.nan)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        rows, columns = values.unsqueeze(-1), values.unsqueeze(-2)
        smaller = torch.minimum(rows, columns)
        # log(1 + r) / r, r = (larger - smaller) / smaller: exact however small r is
        ratio = (rows - columns).abs() / smaller
        differences = torch.where(ratio > 0, ratio.log1p() / ratio, 1.0) / smaller
        gradient = (gradient + gradient.mT) / 2
        inner = differences * (vectors.mT @ gradient @ vectors)
        return vectors @ inner @ vectors.mT
