"""Slow references in float64: loops that follow the papers' equations literally."""

import math

import numpy as np
import scipy.linalg

EPSILON = 1e-8


def mean(frames: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean of equation (6), and of (2) with weights 1/T."""
    if weights is None:
        weights = np.full(len(frames), 1 / len(frames))
    total = np.zeros(frames.shape[1])
    for weight, frame in zip(weights, frames, strict=True):
        total = total + weight * frame
    return total


def mean_std(frames: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Equation (3): the deviation divides by T, or is weighted."""
    centre = mean(frames, weights)
    return np.concatenate([centre, np.sqrt(mean((frames - centre) ** 2, weights))])


def covariance(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The covariance of equation (6), and of (4) with weights 1/T."""
    centre = mean(frames, weights)
    total = np.zeros((frames.shape[1], frames.shape[1]))
    for weight, frame in zip(weights, frames, strict=True):
        total = total + weight * np.outer(frame - centre, frame - centre)
    return total


def correlation(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Equation (5), the elements above the diagonal row by row."""
    sigma = covariance(frames, weights)
    result = []
    for i in range(len(sigma)):
        for j in range(i + 1, len(sigma)):
            deviations = math.sqrt(sigma[i, i]) * math.sqrt(sigma[j, j])
            result.append(sigma[i, j] / (deviations + EPSILON))
    return np.array(result)


def attention(
    frames: np.ndarray, projection: np.ndarray, queries: np.ndarray, biases: np.ndarray
) -> np.ndarray:
    """Equations (7) and (8) as one softmax over all H x T products, summed over H."""
    scores = np.zeros((len(queries), len(frames)))
    for t, frame in enumerate(frames):
        hidden = np.maximum(projection @ frame, 0.0)
        for h, (query, bias) in enumerate(zip(queries, biases, strict=True)):
            scores[h, t] = query @ hidden + bias
    exponentials = np.exp(scores - scores.max())
    return exponentials.sum(axis=0) / exponentials.sum()


def stats_attention(
    frames: np.ndarray, projection: np.ndarray, biases: np.ndarray, scorer: np.ndarray
) -> np.ndarray:
    """Okabe et al. 2018: a softmax over time of v' tanh(W h_t + b)."""
    scores = [scorer[0] @ np.tanh(projection @ frame + biases) for frame in frames]
    exponentials = np.exp(np.array(scores) - max(scores))
    return exponentials / exponentials.sum()


def head_weights(
    frames: np.ndarray, keys: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    """Weights (H, T) of multi-head factorised attention, Peng et al. 2022."""
    rows = []
    for query in queries:
        scores = np.array([query @ (keys @ frame) for frame in frames])
        exponentials = np.exp(scores - scores.max())
        rows.append(exponentials / exponentials.sum())
    return np.array(rows)


def mhfa(
    frames: np.ndarray, keys: np.ndarray, queries: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """The means of the values that the heads' weights give, one head after another."""
    compressed = np.array([values @ frame for frame in frames])
    heads = [mean(compressed, own) for own in head_weights(frames, keys, queries)]
    return np.concatenate(heads)


def log_covariance(frames: np.ndarray, eps: float) -> np.ndarray:
    """The logarithm of Sigma + c I by SciPy: diagonal, then sqrt(2) times the rest."""
    size = frames.shape[1]
    sigma = covariance(frames, np.full(len(frames), 1 / len(frames)))
    added = eps * sum(sigma[i, i] for i in range(size)) / size + EPSILON
    logarithm = scipy.linalg.logm(sigma + added * np.eye(size))
    diagonal = [logarithm[i, i] for i in range(size)]
    above = [logarithm[i, j] for i in range(size) for j in range(i + 1, size)]
    return np.array(diagonal + [math.sqrt(2) * element for element in above])
