"""Testing on another corpus than the one that is trained on."""

import os
from collections.abc import Sequence
from dataclasses import replace

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
    """Refuse to test files that train, and ids that mean two clips.

    ``used`` are clips of ``corpus``, ``tested`` those of ``other``.
    """
    heard = {os.path.realpath(corpus.part(clip).file) for clip in used}
    same = [c for c in tested if os.path.realpath(other.part(c).file) in heard]
    if same:
        raise InputError(
            f"{len(same)} of the {len(tested)} clips of {other.name} are of files that "
            f"{corpus.name} has, too (the first is {same[0].wav}), so the test would "
            "not be of new recordings; test on another corpus"
        )
    if {clip.id for clip in used} & {clip.id for clip in tested}:
        raise InputError(
            f"{corpus.name} and {other.name} share ids; give one of the tables "
            "another name"
        )
