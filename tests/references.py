"""Slow references in float64: loops that follow the paper's equations literally."""

import math

import numpy as np

EPSILON = 1e-8


def mean(frames: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean of equation (6), and of (2) with weights 1/T."""
    if weights is None:
        weights = np.full(len(frames), 1 / len(frames))
    total = np.zeros(frames.shape[1])
    for weight, frame in zip(weights, frames, strict=True):
        total = total + weight * frame
    return total


def mean_std(frames: np.ndarray) -> np.ndarray:
    """Equation (3): the deviation divides by T."""
    centre = mean(frames)
    return np.concatenate([centre, np.sqrt(mean((frames - centre) ** 2))])


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
