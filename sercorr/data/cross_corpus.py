"""Testing on another corpus than the one that is trained on."""

import functools
import os
from collections.abc import Sequence
from dataclasses import replace

from sercorr.data.utterances import UNKNOWN, Corpus, Utterance
from sercorr.errors import InputError
from sercorr.files import file_digest


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
    by_size: dict[int, set[str]] = {}
    for file in own:
        if os.path.isfile(file):
            by_size.setdefault(os.path.getsize(file), set()).add(file)

    @functools.cache
    def is_own(file: str) -> bool:
        if file in own or not os.path.isfile(file):
            return file in own
        rivals = by_size.get(os.path.getsize(file), set())
        return bool(rivals) and digest(file) in set(map(digest, rivals))

    digest = functools.cache(file_digest)
    same = [c for c in tested if is_own(os.path.realpath(other.part(c).file))]
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
