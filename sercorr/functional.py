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

EPSILON = 1e-8
"""The paper's epsilon in S = ss' + epsilon, below equation (5)."""


def layer_weights(scores: torch.Tensor) -> torch.Tensor:
    """Turn the learned vector of equation (1) into gamma = Softmax(scores).

    Arguments
    ---------
    scores : torch.Tensor
        (L,), one number per layer (L + 1 of them in the paper's notation).

    Returns
    -------
    torch.Tensor
        (L,), not negative, summing to 1.

    Example
    -------
    >>> layer_weights(torch.zeros(4))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    (scores,) = _full_precision(scores)
    return torch.softmax(scores, dim=0)


def mix_layers(layers: torch.Tensor, gammas: torch.Tensor) -> torch.Tensor:
    """Average the layers, equation (1): h_t = sum_l gamma_l h_{t,l}.

    Arguments
    ---------
    layers : torch.Tensor
        (L, T, D), of any floating type.
    gammas : torch.Tensor
        (L,), from `layer_weights`.

    Returns
    -------
    torch.Tensor
        (T, D).

    Example
    -------
    >>> layers = torch.tensor([[[1.0]], [[3.0]]])  # two layers of one frame
    >>> mix_layers(layers, torch.tensor([0.25, 0.75]))
    tensor([[2.5000]])
    """
    layers, gammas = _full_precision(layers, gammas)
    with torch.autocast(layers.device.type, enabled=False):
        return torch.einsum("ltd,l->td", layers, gammas)


def uniform_weights(mask: torch.Tensor) -> torch.Tensor:
    """Weigh the T real frames of each item by 1/T, as equations (2) to (4) do.

    Arguments
    ---------
    mask : torch.Tensor
        (B, T), bool, True on real frames; at least one per row.

    Returns
    -------
    torch.Tensor
        (B, T), float32; rows sum to 1.

    Example
    -------
    >>> uniform_weights(torch.tensor([[True, True, False]]))
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    mask = mask.float()
    return mask / mask.sum(dim=1, keepdim=True)


def weighted_mean(frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
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
    return _sum_over_time(weights, _zero_where_unweighted(frames, weights))


def _centred(frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Subtract the mean over time: v_t - mu, of (3), (4) and (6).

    Each channel's first real frame is subtracted before the mean is taken, which
    changes nothing on paper. In floating point it makes a constant channel exactly 0,
    where a rounded mean would leave a residue that the correlation blows up to
    anything in [-1, 1]. No gradient goes through the mean: that of a variance or
    covariance is a multiple of sum_t w_t (v_t - mu) = 0.
    """
    first = weights.gt(0).float().argmax(dim=1)  # (B,)
    rows = torch.arange(len(frames), device=frames.device)
    origin = frames.detach()[rows, first].unsqueeze(1)  # (B, 1, D)
    offsets = _zero_where_unweighted(frames - origin, weights)
    return offsets - _sum_over_time(weights, offsets).detach().unsqueeze(1)


def weighted_variance(frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Variance over time, inside equation (3): sum_t w_t (h_t - mean)^2.

    Arguments
    ---------
    frames, weights : torch.Tensor
        (B, T, D) and (B, T), as for `weighted_mean`.

    Returns
    -------
    torch.Tensor
        (B, D); exactly 0 for a constant channel.

    Example
    -------
    >>> frames = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> weighted_variance(frames, torch.tensor([[0.5, 0.5, 0.0]]))
    tensor([[1.]])
    """
    frames, weights = _full_precision(frames, weights)
    centre = _centred(frames, weights)
    return (weights.unsqueeze(-1) * centre * centre).sum(dim=1)


def weighted_covariance(frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Covariance over time, (4) and (6): Sigma = sum_t w_t (v_t - mu)(v_t - mu)'.

    Arguments
    ---------
    frames, weights : torch.Tensor
        (B, T, D) and (B, T), as for `weighted_mean`.

    Returns
    -------
    torch.Tensor
        (B, D, D); rows and columns of a constant channel are exactly 0.

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


def standard_deviation(variance: torch.Tensor) -> torch.Tensor:
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


def correlation_matrix(covariance: torch.Tensor, eps: float = EPSILON) -> torch.Tensor:
    """Normalise covariances to correlations, equation (5): C = Sigma / (ss' + eps).

    s = diag(Sigma)^(1/2) are the standard deviations. A channel without variance
    correlates with nothing: 0.

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
    s = standard_deviation(covariance.diagonal(dim1=-2, dim2=-1))
    return covariance / (s.unsqueeze(-1) * s.unsqueeze(-2) + eps)


def strict_upper_triangle(matrices: torch.Tensor) -> torch.Tensor:
    """List the elements above the diagonal row by row, below equation (5).

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


def attention_scores(
    frames: torch.Tensor,
    projection: torch.Tensor,
    queries: torch.Tensor,
    biases: torch.Tensor,
) -> torch.Tensor:
    """Score the frames, equation (8): a_t = log sum_h exp(q_h' o_t + b_h).

    o_t = ReLU(W_att v_t).

    Arguments
    ---------
    frames : torch.Tensor
        (B, T, D), v.
    projection : torch.Tensor
        (D, D), W_att.
    queries : torch.Tensor
        (H, D), one q_h per head.
    biases : torch.Tensor
        (H,), b.

    Returns
    -------
    torch.Tensor
        (B, T), a.

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


def attention_weights(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Normalise scores over time, equation (7): w = Softmax(a).

    Arguments
    ---------
    scores : torch.Tensor
        (B, T), a, from `attention_scores`.
    mask : torch.Tensor
        (B, T), bool, True on real frames; at least one per row.

    Returns
    -------
    torch.Tensor
        (B, T); rows sum to 1; exactly 0 where ``mask`` is False.

    Example
    -------
    >>> attention_weights(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    (scores,) = _full_precision(scores)
    return F.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)


def _full_precision(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Convert to the widest of the types and float32."""
    types = (tensor.dtype for tensor in tensors)
    dtype = functools.reduce(torch.promote_types, types, torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def _zero_where_unweighted(frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return frames.masked_fill((weights == 0).unsqueeze(-1), 0.0)


def _sum_over_time(weights: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    with torch.autocast(frames.device.type, enabled=False):
        return torch.einsum("bt,btd->bd", weights, frames)
