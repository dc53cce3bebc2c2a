"""Equations (1) to (8) of the paper as pure functions.

Source: Kakouros et al., ICASSP 2023, section 3. Equation (9), label smoothing, is
``torch.nn.functional.cross_entropy(..., label_smoothing=p)``.

Equations (2), (3) and (4) are written with the weights w_t of equation (6), which are
1/T there (`uniform_weights`) and 0 on padding. Frames of weight 0 do not exist: even
infinities and NaN in them change nothing. Sums over time and over layers are made in
float32 at least, whatever the autocast: the products inside a covariance lose too many
digits in half precision.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-8
"""The paper's epsilon in S = ss' + epsilon, below equation (5)."""


def layer_weights(scores: Tensor) -> Tensor:
    """Turn the learned vector (L,) of equation (1) into gamma = Softmax(scores).

    Example
    -------
    >>> layer_weights(torch.zeros(4))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    (scores,) = _full_precision(scores)
    return torch.softmax(scores, dim=0)


def mix_layers(layers: Tensor, gammas: Tensor) -> Tensor:
    """Average the layers, equation (1): h_t = sum_l gamma_l h_{t,l}.

    ``layers`` (L, T, D), of any floating type, and ``gammas`` (L,) give (T, D).

    Example
    -------
    >>> layers = torch.tensor([[[1.0]], [[3.0]]])  # two layers of one frame
    >>> mix_layers(layers, torch.tensor([0.25, 0.75]))
    tensor([[2.5000]])
    """
    layers, gammas = _full_precision(layers, gammas)
    with torch.autocast(layers.device.type, enabled=False):
        return torch.einsum("ltd,l->td", layers, gammas)


def uniform_weights(mask: Tensor) -> Tensor:
    """Weigh the T real frames of each item by 1/T, as equations (2) to (4) do.

    ``mask`` is (B, T), True on real frames, at least one per row.

    Example
    -------
    >>> uniform_weights(torch.tensor([[True, True, False]]))
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    mask = mask.float()
    return mask / mask.sum(dim=1, keepdim=True)


def weighted_mean(frames: Tensor, weights: Tensor) -> Tensor:
    """Average over time, equations (2) and (6): mu = sum_t w_t v_t.

    Arguments
    ---------
    frames : torch.Tensor
        (B, T, D).
    weights : torch.Tensor
        (B, T), not negative, each row summing to 1.

    Returns
    -------
    torch.Tensor
        (B, D).

    Example
    -------
    >>> frames = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> weighted_mean(frames, torch.tensor([[0.5, 0.5, 0.0]]))
    tensor([[2.]])
    """
    frames, weights = _full_precision(frames, weights)
    frames = frames.masked_fill((weights == 0).unsqueeze(-1), 0.0)
    return _sum_over_time(weights, frames)


def weighted_variance(frames: Tensor, weights: Tensor) -> Tensor:
    """Variance over time, inside equation (3): sum_t w_t (h_t - mean)^2.

    Arguments as for `weighted_mean`. Returns (B, D), exactly 0 for a constant channel.

    Example
    -------
    >>> frames = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> weighted_variance(frames, torch.tensor([[0.5, 0.5, 0.0]]))
    tensor([[1.]])
    """
    frames, weights = _full_precision(frames, weights)
    return _sum_over_time(weights, _centred(frames, weights).square())


def weighted_covariance(frames: Tensor, weights: Tensor) -> Tensor:
    """Covariance over time, (4) and (6): Sigma = sum_t w_t (v_t - mu)(v_t - mu)'.

    Arguments as for `weighted_mean`. Returns (B, D, D), where the rows and columns of
    a constant channel are exactly 0.

    Example
    -------
    >>> frames = torch.tensor([[[1.0, 2.0], [3.0, 0.0], [99.0, 99.0]]])
    >>> weighted_covariance(frames, torch.tensor([[0.5, 0.5, 0.0]]))
    tensor([[[ 1., -1.],
             [-1.,  1.]]])
    """
    frames, weights = _full_precision(frames, weights)
    centre = _centred(frames, weights)
    with torch.autocast(frames.device.type, enabled=False):
        return (weights.unsqueeze(-1) * centre).transpose(1, 2) @ centre


def _centred(frames: Tensor, weights: Tensor) -> Tensor:
    """Subtract the mean over time: v_t - mu, of (3), (4) and (6); 0 - mu on padding.

    Each channel's first real frame is subtracted before the mean is taken, which
    changes nothing on paper. In floating point it makes a constant channel exactly 0,
    where a rounded mean would leave a residue that the correlation blows up to
    anything in [-1, 1]. No gradient goes through the mean: that of a variance or
    covariance is a multiple of sum_t w_t (v_t - mu) = 0.
    """
    first = weights.gt(0).float().argmax(dim=1)  # (B,)
    rows = torch.arange(len(frames), device=frames.device)
    origin = frames.detach()[rows, first].unsqueeze(1)  # (B, 1, D)
    # In place: two copies of the frames less
    offsets = (frames - origin).masked_fill_((weights == 0).unsqueeze(-1), 0.0)
    return offsets.sub_(_sum_over_time(weights, offsets.detach()).detach().unsqueeze(1))


def standard_deviation(variance: Tensor) -> Tensor:
    """Square root of (3) and (5), whose gradient at 0 is 0 instead of infinite.

    Example
    -------
    >>> variance = torch.tensor([4.0, 0.0], requires_grad=True)
    >>> deviation = standard_deviation(variance)
    >>> deviation.sum().backward()
    >>> deviation.tolist(), variance.grad.tolist()
    ([2.0, 0.0], [0.25, 0.0])
    """
    positive = variance > 0
    return variance.where(positive, 1.0).sqrt().where(positive, 0.0)


def correlation_matrix(covariance: Tensor, eps: float = EPSILON) -> Tensor:
    """Normalise covariances to correlations, equation (5): C = Sigma / (ss' + eps).

    s = diag(Sigma)^(1/2) are the standard deviations. A channel without variance
    correlates with nothing: 0.

    ``covariance`` is (B, D, D), and so is the result. ``eps`` is added to each product
    of deviations, as the paper does; not to the variances.

    Example
    -------
    >>> correlation_matrix(torch.tensor([[[4.0, 3.0], [3.0, 9.0]]]))[0, 0, 1]
    tensor(0.5000)
    """
    s = standard_deviation(covariance.diagonal(dim1=-2, dim2=-1))
    return covariance / (s.unsqueeze(-1) * s.unsqueeze(-2) + eps)


def strict_upper_triangle(matrices: Tensor) -> Tensor:
    """List the elements above the diagonal row by row, below equation (5).

    Turns (B, D, D) into (B, D(D-1)/2).

    Example
    -------
    >>> strict_upper_triangle(torch.arange(9).reshape(1, 3, 3))
    tensor([[1, 2, 5]])
    """
    size = matrices.shape[-1]
    rows, columns = torch.triu_indices(size, size, offset=1, device=matrices.device)
    return matrices.flatten(1).index_select(1, rows * size + columns)


def attention_scores(
    frames: Tensor,
    projection: Tensor,
    queries: Tensor,
    biases: Tensor,
) -> Tensor:
    """Score the frames, equation (8): a_t = log sum_h exp(q_h' o_t + b_h).

    o_t = ReLU(W_att v_t). ``frames`` (B, T, D) are v, ``projection`` (D, D) is W_att,
    ``queries`` (H, D) hold one q_h per head and ``biases`` (H,) b; (B, T) is returned.

    Example
    -------
    >>> identity, queries = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> frames = torch.tensor([[[3.0, 3.0], [-1.0, 0.0]]])
    >>> attention_scores(frames, identity, queries, torch.zeros(2))  # 3 + ln 2, ln 2
    tensor([[3.6931, 0.6931]])
    """
    hidden = F.relu(F.linear(frames, projection))  # o: (B, T, D)
    (products,) = _full_precision(F.linear(hidden, queries, biases))  # (B, T, H)
    return torch.logsumexp(products, dim=-1)


def attention_weights(scores: Tensor, mask: Tensor) -> Tensor:
    """Normalise scores over time, equation (7): w = Softmax(a).

    ``scores`` (B, T) and ``mask`` (B, T), True on real frames, at least one per row,
    give (B, T): rows sum to 1, exactly 0 where ``mask`` is False.

    Example
    -------
    >>> attention_weights(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    (scores,) = _full_precision(scores)
    return F.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)


def _full_precision(*tensors: Tensor) -> list[Tensor]:
    """Convert to the widest of the types and float32."""
    types = (tensor.dtype for tensor in tensors)
    dtype = functools.reduce(torch.promote_types, types, torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def _sum_over_time(weights: Tensor, frames: Tensor) -> Tensor:
    """Sum w_t x_t over t: (B, D)."""
    with torch.autocast(frames.device.type, enabled=False):
        return torch.einsum("bt,btd->bd", weights, frames)
