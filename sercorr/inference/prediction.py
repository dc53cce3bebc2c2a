"""What goes into a recogniser and what comes out of it; neither needs torch."""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Segment(NamedTuple):
    """A part of an audio file, in seconds; ``end`` None is the end of the file."""

    file: str | os.PathLike
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about a clip, or about one window of it.

    The fields can also be read as those of a mapping.

    Attributes
    ----------
    file : str or None
        The file as it was given; None for samples.
    start, end : float
        Seconds from the beginning of the file.
    label : str
        The most probable label.
    scores : dict
        Label -> probability, in the order of the model's labels.
    attention : list of tuple, or None
        For each frame its centre, in seconds from the beginning of the file, and its
        weight; the weights sum to 1. None where the pooling has no attention.
    embedding : numpy.ndarray or None
        (output_size,), the pooled vector, where it was asked for.
    silent : bool
        The clip is silence: its level is under the gate, or under -80 dB without one.

    Example
    -------
    >>> found = Prediction("a.wav", 0.0, 2.5, "sad", {"ang": 0.25, "sad": 0.75}, None)
    >>> found.label, found["scores"]["sad"]
    ('sad', 0.75)
    """

    file: str | None
    start: float
    end: float
    label: str
    scores: dict[str, float]
    attention: list[tuple[float, float]] | None
    embedding: np.ndarray | None = None
    silent: bool = False

    def __getitem__(self, name: str) -> Any:
        """Read a field by its name; a KeyError if there is none."""
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)


class Answer(NamedTuple):
    """What a model says about samples, before they are those of a file.

    Attributes
    ----------
    probabilities : numpy.ndarray
        (K,), float64; they sum to 1.
    attention, times : numpy.ndarray or None
        (T,): the frames' weights, and their centres in seconds; None where the pooling
        has no attention.
    embedding : numpy.ndarray or None
        (output_size,), where it was asked for.
    """

    probabilities: np.ndarray
    attention: np.ndarray | None = None
    times: np.ndarray | None = None
    embedding: np.ndarray | None = None
