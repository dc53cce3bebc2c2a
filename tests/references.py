"""Slow references in float64: loops that follow the paper's equations literally."""

import math

import numpy as np

EPSILON = 1e-8


def mean(frames: np.ndarray) -> np.ndarray:
    """Equation (2)."""
    total = np.zeros(frames.shape[1])
    for frame in frames:
        total = total + frame
    return total / len(frames)


def mean_std(frames: np.ndarray) -> np.ndarray:
    """Equation (3): the deviation divides by T."""
    centre = mean(frames)
    total = np.zeros(frames.shape[1])
    for frame in frames:
        total = total + (frame - centre) ** 2
    return np.concatenate([centre, np.sqrt(total / len(frames))])


def correlation(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Equations (4) to (6), the elements above the diagonal row by row."""
    size = frames.shape[1]
    centre = np.zeros(size)
    for weight, frame in zip(weights, frames, strict=True):
        centre = centre + weight * frame
    covariance = np.zeros((size, size))
    for weight, frame in zip(weights, frames, strict=True):
        covariance = covariance + weight * np.outer(frame - centre, frame - centre)
    result = []
    for i in range(size):
        for j in range(i + 1, size):
            deviations = math.sqrt(covariance[i, i]) * math.sqrt(covariance[j, j])
            result.append(covariance[i, j] / (deviations + EPSILON))
    return np.array(result)


def attention(
    frames: np.ndarray,
    projection: np.ndarray,
    queries: np.ndarray,
    biases: np.ndarray,
) -> np.ndarray:
    """Equations (7) and (8), in the paper's equivalent form.

    A softmax over all H x T dot products, summed over the heads.
    """
    scores = np.zeros((len(queries), len(frames)))
    for t, frame in enumerate(frames):
        hidden = np.maximum(projection @ frame, 0.0)
        for h, (query, bias) in enumerate(zip(queries, biases, strict=True)):
            scores[h, t] = query @ hidden + bias
    exponentials = np.exp(scores - scores.max())
    return exponentials.sum(axis=0) / exponentials.sum()
