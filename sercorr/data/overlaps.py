"""The same sound in training and test: parts of one recording, and copies of files."""

import bisect
from collections.abc import Mapping, Sequence

from sercorr.data.copies import find_equal_files
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

_SHARE = 0.5
"""Most of a test clip that may be heard in training: turns of a talk overlap."""

_Spans = dict[str, list[tuple[float, float, Utterance]]]


def count_copies(
    corpus: Corpus,
    splits: Mapping[int, Mapping[str, Sequence[str]]],
    clips: Sequence[Utterance],
) -> dict[int, int]:
    """Count test clips whose sound also trains or validates, in files of equal bytes.

    Within one file that is refused: there, start and end say that it is the same.

    Arguments
    ---------
    corpus : Corpus
        Whose clips they are.
    splits : mapping
        What `sercorr.data.splits.make_splits` returns.
    clips : sequence of Utterance
        With their durations.

    Returns
    -------
    dict
        Fold -> test clips of which more than half is in a copy.

    Raises
    ------
    InputError
        More than half of a test clip is in a part of the same file that trains or
        validates; the message names the first.
    """
    place_of = {clip.wav: str(corpus.part(clip).file) for clip in clips}
    original = {place: place for place in place_of.values()}
    for equal in find_equal_files(original):
        original.update(dict.fromkeys(equal, equal[0]))
    by_id = {clip.id: clip for clip in clips}
    counts = {}
    for fold, parts in splits.items():
        heard: _Spans = {}
        for name in (*parts["train"], *parts["valid"]):
            if clip := by_id.get(name):
                spans = heard.setdefault(original[place_of[clip.wav]], [])
                spans.append((clip.start, _end(clip), clip))
        for spans in heard.values():
            spans.sort(key=lambda span: span[:2])
        counts[fold] = 0
        for name in parts["test"]:
            if clip := by_id.get(name):
                spans = heard.get(original[place_of[clip.wav]], [])
                other = _heard_in(clip, spans)
                if other is not None and other.wav == clip.wav:
                    raise InputError(_describe(corpus, fold, clip, other))
                counts[fold] += other is not None
    return counts


def copy_notes(copies: Mapping[int, int]) -> list[str]:
    """Say which folds test copies, a line for each."""
    return [
        f"fold {fold} tests {count} clips that are copies of clips that train or "
        "validate; sercorr corpus lists them"
        for fold, count in copies.items()
        if count
    ]


def _end(clip: Utterance) -> float:
    return clip.start + float(clip.duration or 0.0)


def _heard_in(
    clip: Utterance, spans: Sequence[tuple[float, float, Utterance]]
) -> Utterance | None:
    """Find a clip that has more than half of this one, its own file's first."""
    start, end = clip.start, _end(clip)
    behind = bisect.bisect_left(spans, end, key=lambda span: span[0])
    found = [
        other
        for first, last, other in spans[:behind]
        if min(last, end) - max(first, start) > _SHARE * (end - start)
    ]
    return min(found, key=lambda other: other.wav != clip.wav, default=None)


def _describe(corpus: Corpus, fold: int, clip: Utterance, other: Utterance) -> str:
    return (
        f"{corpus.name}: fold {fold} tests {clip.id}, most of which is in {other.id}, "
        f"which trains or validates: {clip.wav}, {clip.start:g} to {_end(clip):g} s "
        f"and {other.start:g} to {_end(other):g} s; leave one of the two out, or keep "
        "both in one fold (fold_by)"
    )
