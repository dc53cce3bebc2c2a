"""What a corpus is to this package: labelled clips with a speaker and a group.

A prepare file reads a corpus into these; all that follows (splits, manifests, counts)
is the same for every corpus.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sercorr.errors import InputError

Name = int | str
"""Of a group or an official fold."""


@dataclass(frozen=True)
class Utterance:
    """One labelled clip.

    Arguments
    ---------
    id : str
        Unique in the corpus.
    wav : str
        The audio file relative to the corpus folder, with ``/`` between its parts.
    emotion : str or None
        The class; None where the clip belongs to none of the corpus's classes.
    speaker : str
        Who speaks. No fold may test a speaker that it trains on.
    group : int or str
        What ``fold_by: group`` leaves out: a session, for instance.
    code : str, optional
        The corpus's own label, where it is finer than the class.
    votes : sequence of sequence of str, optional
        Each rater's categories.
    duration : float, optional
        In seconds; read from the audio's header when manifests are planned.
    fold : int or str, optional
        The official fold that tests the clip, where the corpus comes with folds.
    split : str, optional
        ``train``, ``valid`` or ``test``, where the corpus comes with one split.
    place : str
        Where the label was read, for messages.
    """

    id: str
    wav: str
    emotion: str | None
    speaker: str
    group: Name
    code: str | None = None
    votes: Sequence[Sequence[str]] | None = None
    duration: float | None = None
    fold: Name | None = None
    split: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Corpus:
    """All utterances of a corpus, and what is known of its full release.

    Arguments
    ---------
    name : str
        For messages.
    data_folder : path
        Where it lies.
    utterances : sequence of Utterance
        In any order; they are kept sorted by id.
    group_name : str
        What a group is called: in messages and as a key of the manifests.
    codes : mapping, optional
        Class -> the codes that are counted apart in it, such as ``hap`` and ``exc``
        for IEMOCAP's ``hap``. A class that is not in it is counted as a whole.
    published : mapping, optional
        Group -> class or code -> number of clips in the full release.
    totals : mapping, optional
        What else is counted: name -> number found, number in the full release. Where
        the first of them is the published one, the folder is taken for a full release,
        and anything else that differs is warned of.
    left_out : mapping, optional
        Kind of file that is no part of the task -> how many of them there are.

    Raises
    ------
    InputError
        There is no utterance, or two have the same id.

    Example
    -------
    >>> clips = [
    ...     Utterance(f"b{n}", f"{n}.wav", "neu", "Ann", f"day{n}") for n in (10, 9)
    ... ]
    >>> corpus = Corpus("Diary", "/data", clips, group_name="day")
    >>> [clip.id for clip in corpus.utterances], corpus.groups
    (['b10', 'b9'], ['day9', 'day10'])
    """

    name: str
    data_folder: str | Path
    utterances: Sequence[Utterance]
    group_name: str = "session"
    codes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: Mapping[Any, Mapping[str, int]] = field(default_factory=dict)
    totals: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.utterances, key=lambda clip: clip.id))
        if not ordered:
            raise InputError(f"{self.data_folder}: no labelled clip of {self.name}")
        for first, second in pairwise(ordered):
            if first.id == second.id:
                raise InputError(
                    f"{second.place or second.wav}: {second.id} is labelled twice, the "
                    f"first time at {first.place or first.wav}; keep one of the two"
                )
        object.__setattr__(self, "utterances", ordered)

    @property
    def groups(self) -> list[Name]:
        """All groups, in the order of their names."""
        return sorted({clip.group for clip in self.utterances}, key=natural_order)


def natural_order(name: Name) -> tuple[list[str | int], str]:
    """Sort key that puts numbers within names in the order of their values.

    Example
    -------
    >>> sorted(["s10", "s9", 10, 9, "b"], key=natural_order)
    [9, 10, 'b', 's9', 's10']
    """
    parts: list[str | int] = list(re.split(r"([0-9]+)", str(name)))
    parts[1::2] = map(int, parts[1::2])  # text and numbers alternate, text first
    return parts, str(name)
