"""Testing on another corpus than the one that is trained on."""

import os
from collections.abc import Sequence
from dataclasses import replace

from sercorr.data.copies import find_equal_files
from sercorr.data.utterances import UNKNOWN, Corpus, Utterance
from sercorr.errors import InputError


def as_other_corpus(corpus: Corpus) -> Corpus:
    """Put a corpus's name before its ids and speakers, as another one may have them.

    Example
    -------
    >>> clips = [Utterance("a1", "a1.wav", "sad", "Ann", 1)]
    >>> (clip,) = as_other_corpus(Corpus("Diary", "/data", clips)).utterances
    >>> clip.id, clip.speaker
    ('Diary/a1', 'Diary/Ann')
    """

    def renamed(clip: Utterance) -> Utterance:
        known = clip.speaker != UNKNOWN
        speaker = f"{corpus.name}/{clip.speaker}" if known else UNKNOWN
        return replace(clip, id=f"{corpus.name}/{clip.id}", speaker=speaker)

    return replace(corpus, utterances=list(map(renamed, corpus.utterances)))


def require_other_files(
    corpus: Corpus,
    used: Sequence[Utterance],
    other: Corpus,
    tested: Sequence[Utterance],
) -> None:
    """Refuse to test files that train, under the same or another name.

    ``used`` are clips of ``corpus``, ``tested`` those of ``other``.
    """
    if corpus.name == other.name:
        raise InputError(
            f"both corpora are called {corpus.name}; give one of the tables another "
            "name"
        )
    own = {os.path.realpath(corpus.part(clip).file) for clip in used}
    theirs = {clip.id: os.path.realpath(other.part(clip).file) for clip in tested}
    heard = set(own)
    for equal in find_equal_files(filter(os.path.isfile, own.union(theirs.values()))):
        if own.intersection(equal):
            heard.update(equal)
    same = [clip for clip in tested if theirs[clip.id] in heard]
    if same:
        raise InputError(
            f"{len(same)} of the {len(tested)} clips of {other.name} are of files that "
            f"{corpus.name} has, too (the first is {same[0].wav}), so the test would "
            "not be of new recordings; test on another corpus"
        )


def same_names(
    used: Sequence[Utterance], other: Corpus, tested: Sequence[Utterance]
) -> int:
    """Count test speakers of another corpus whose names stand in the first one, too.

    Nobody can say from names whether they are the same people. ``tested`` are clips
    that `as_other_corpus` has renamed.
    """
    names = {clip.speaker for clip in used} - {UNKNOWN}
    mark = f"{other.name}/"
    return len(names & {clip.speaker.removeprefix(mark) for clip in tested})
