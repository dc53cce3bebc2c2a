"""What a corpus is to this package: labelled clips with a speaker and a group.

A prepare file reads a corpus into these; all that follows (splits, manifests, counts)
is the same for every corpus.
"""

import functools
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sercorr import SAMPLE_RATE
from sercorr.data.audio import AudioInfo, Part, read_header, require_one_frame
from sercorr.data.copies import in_threads
from sercorr.errors import InputError

UNKNOWN = "unknown"
"""Speaker of a clip whose speaker is not known."""


@dataclass(frozen=True)
class Utterance:
    """One labelled clip.

    Arguments
    ---------
    id : str
        Unique in the corpus.
    wav : str
        The audio file relative to the corpus folder, with ``/`` between its parts; or
        its absolute place.
    emotion : str or None
        The class; None where the clip belongs to none of the corpus's classes.
    speaker : str
        Who speaks, or `UNKNOWN`. No fold may test a speaker that it trains on.
    group : int or str
        What ``fold_by: group`` leaves out: a session, for instance.
    code : str, optional
        The corpus's own label, where it is finer than the class.
    votes : sequence of sequence of str, optional
        Each rater's categories, in the corpus's own words.
    vote_counts : mapping, optional
        Class -> the raters' votes for it (or their share), also for classes that are
        not used. A class that is not in it has none.
    start, end : float
        The part of the file that is the clip, in seconds; None for the file's end.
    duration : float, optional
        In seconds; read from the audio's header when manifests are planned.
    fold : int or str, optional
        The official fold that tests the clip, where the corpus comes with folds.
    split : str, optional
        ``train``, ``valid`` or ``test``, where the corpus comes with one split.
    place : str
        Where the label was read, for messages.
    traits : mapping, optional
        What else is known of the clip, in words: ``gender``, ``style`` and so on. They
        decide nothing; results can be looked at by them.
    """

    id: str
    wav: str
    emotion: str | None
    speaker: str
    group: int | str
    code: str | None = None
    votes: Sequence[Sequence[str]] | None = None
    vote_counts: Mapping[str, float] | None = None
    start: float = 0.0
    end: float | None = None
    duration: float | None = None
    fold: int | str | None = None
    split: str | None = None
    place: str = ""
    traits: Mapping[str, str] | None = None


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
        What a group is called: in messages and as a key of the manifests;
        ``speaker`` where each speaker is a group.
    codes : mapping, optional
        Class -> the codes that are counted apart in it, such as ``hap`` and ``exc``
        for IEMOCAP's ``hap``. A class that is not in it is counted as a whole.
    published : mapping, optional
        Group -> class or code -> number of clips in the full release; the group
        ``all`` stands for the whole corpus, where no more is known.
    notes : sequence of str
        What the reader of the corpus has to say, one line each; printed with the
        counts.

    Raises
    ------
    InputError
        There is no utterance, or two have the same id.

    Example
    -------
    >>> clips = [Utterance(f"b{n}", f"{n}.wav", "neu", "Ann", n) for n in (10, 9)]
    >>> corpus = Corpus("Diary", "/data", clips, group_name="day")
    >>> [clip.id for clip in corpus.utterances], corpus.groups
    (['b10', 'b9'], [9, 10])
    """

    name: str
    data_folder: str | Path
    utterances: Sequence[Utterance]
    group_name: str = "session"
    codes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: Mapping[Any, Mapping[str, int]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.group_name in (
            "wav",
            "duration",
            "emo",
            "code",
            "corpus",
            "start",
            "end",
            "votes",
            "vote_counts",
            "traits",
        ):
            raise ValueError(
                f"group_name is a key of manifests (got {self.group_name})"
            )
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
    def groups(self) -> list[Any]:
        """All groups, sorted: fold K tests the K-th of them."""
        return sorted({clip.group for clip in self.utterances})

    def part(self, clip: Utterance) -> Part:
        """Say what one of its clips is read from."""
        file = os.path.join(self._root, clip.wav)
        return Part(file, clip.start, clip.end)

    @functools.cached_property
    def _root(self) -> str:
        return os.path.abspath(self.data_folder)

    @property
    def emotions(self) -> dict[str, int]:
        """Its classes, sorted -> their clips."""
        found = Counter(clip.emotion for clip in self.utterances if clip.emotion)
        return dict(sorted(found.items()))


def read_durations(
    corpus: Corpus, clips: Sequence[Utterance]
) -> tuple[list[Utterance], dict[str, str], str]:
    """Read the header of every clip; a progress bar shows if it takes a while.

    Returns
    -------
    tuple
        The usable clips with their durations; id -> complaint of every clip that is
        missing, unreadable, truncated or shorter than a frame; a remark on clips that
        are not 16 kHz mono, empty where all are.
    """
    # many clips may be parts of one file
    header: Callable[[Any], AudioInfo] = functools.cache(read_header)

    def read(clip: Utterance) -> AudioInfo | str:
        part = corpus.part(clip)
        try:
            info = part.of(header(part.file))
            require_one_frame(part, info)
        except InputError as error:
            return f"{error}" + (f" (labelled in {clip.place})" if clip.place else "")
        return info

    usable, problems, others = [], {}, 0
    results = in_threads(read, clips, "reading headers", quiet=False)
    for clip, info in zip(clips, results, strict=True):
        if isinstance(info, str):
            problems[clip.id] = info
            continue
        usable.append(replace(clip, duration=info.seconds))
        others += (info.sample_rate, info.channels) != (SAMPLE_RATE, 1)
    remark = f"{others} clips are not {SAMPLE_RATE} Hz mono; reading converts them"
    return usable, problems, remark if others else ""
