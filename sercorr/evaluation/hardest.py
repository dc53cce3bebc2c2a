"""Single clips that say much about a head: sure and wrong, or right where few are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sercorr.evaluation.pooled import Pooled, pool_predictions
from sercorr.evaluation.runs import Run


@dataclass(frozen=True)
class Clip:
    """A test clip, and what the seeds said about it.

    Attributes
    ----------
    id, truth, prediction : str
        The predicted class has the largest mean probability.
    probability : float
        That mean over the seeds, from 0 to 1.
    probabilities : dict
        Class -> mean over the seeds.
    wrong : float
        Share of the seeds that were wrong, from 0 to 1.
    similar_right : float
        Share of right answers, over all seeds, about the clips with this class and
        speaker (or with this class and no known speaker).
    similar : int
        How many clips these are, this one among them.
    fold : int
        The fold that tests it.
    speaker, file : str
        As ``predictions.csv`` has them.
    """

    id: str
    truth: str
    prediction: str
    probability: float
    probabilities: dict[str, float]
    wrong: float
    similar_right: float
    similar: int
    fold: int
    speaker: str
    file: str


def most_confident_errors(runs: Sequence[Run], n: int) -> list[Clip]:
    """List the ``n`` wrong clips with the largest probability, largest first.

    Over seeds: of the mean of their probabilities, whose largest is not the true class.
    """
    wrong = [c for c in _clips(pool_predictions(runs)) if c.prediction != c.truth]
    return sorted(wrong, key=lambda c: (-c.probability, c.fold, c.id))[:n]


def rarest_successes(runs: Sequence[Run], n: int) -> list[Clip]:
    """List the ``n`` clips that are right where answers are rarely right, rarest first.

    Rare by ``similar_right``: how often clips with the same class and speaker are
    right; among equals, the less probable first.
    """
    right = [c for c in _clips(pool_predictions(runs)) if c.prediction == c.truth]
    return sorted(right, key=lambda c: (c.similar_right, c.probability, c.fold, c.id))[
        :n
    ]


def _clips(pooled: Pooled) -> list[Clip]:
    clips = pooled.clips
    times = np.bincount(clips)
    first = np.unique(clips, return_index=True)[1]
    mean = _sum_by(clips, pooled.probabilities) / times[:, None]
    chosen = np.eye(len(pooled.labels))[pooled.prediction]
    # among classes that are equal when rounded, the one that most seeds predicted
    votes = _sum_by(clips, chosen) / times[:, None]
    predicted = (mean + 1e-9 * votes).argmax(axis=1)
    wrong = 1 - np.bincount(clips, pooled.right) / times
    kinds = [
        f"{t} {name}" for t, name in zip(pooled.truth, pooled.speakers, strict=True)
    ]
    kind = np.unique(np.asarray(kinds, dtype=object), return_inverse=True)[1]
    rates = np.bincount(kind, pooled.right) / np.bincount(kind)
    sizes = np.bincount(kind[first])
    return [
        Clip(
            id=pooled.ids[row],
            truth=pooled.labels[pooled.truth[row]],
            prediction=pooled.labels[predicted[clip]],
            probability=float(mean[clip, predicted[clip]]),
            probabilities=dict(zip(pooled.labels, mean[clip].tolist(), strict=True)),
            wrong=float(wrong[clip]),
            similar_right=float(rates[kind[row]]),
            similar=int(sizes[kind[row]]),
            fold=int(pooled.folds[row]),
            speaker=pooled.speakers[row],
            file=pooled.files[row],
        )
        for clip, row in enumerate(first)
    ]


def _sum_by(clips: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Add the rows (N, K) of each clip: (clips, K)."""
    return np.stack([np.bincount(clips, column) for column in values.T], axis=1)
