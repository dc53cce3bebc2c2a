"""Parts of one recording in training and test: the same sound must not be in both."""

import bisect
import os
from collections.abc import Mapping, Sequence

from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

_SHARE = 0.5
"""Most of a test clip that may be heard in training: turns of a talk overlap."""

_Spans = dict[str, list[tuple[float, float, str]]]


def require_unheard_sound(
    corpus: Corpus,
    splits: Mapping[int, Mapping[str, Sequence[str]]],
    clips: Sequence[Utterance],
) -> None:
    """Refuse folds in which more than half of a test clip also trains or validates.

    Files are compared by their places; `sercorr.corpora.inspection.find_copies` finds
    copies of them.

    Arguments
    ---------
    corpus : Corpus
        Whose clips they are.
    splits : mapping
        What `sercorr.data.splits.make_splits` returns.
    clips : sequence of Utterance
        With their durations.

    Raises
    ------
    InputError
        There is such a clip; the message names the first and what it overlaps.
    """
    counts: dict[str, int] = {}
    for clip in clips:
        counts[clip.wav] = counts.get(clip.wav, 0) + 1
    several = {clip.id: clip for clip in clips if counts[clip.wav] > 1}
    for fold, parts in splits.items() if several else ():
        heard: _Spans = {}
        for name in (*parts["train"], *parts["valid"]):
            if name in several:
                heard.setdefault(several[name].wav, []).append(_span(several[name]))
        for spans in heard.values():
            spans.sort()
        for name in parts["test"]:
            if name in several and several[name].wav in heard:
                _require_unheard(corpus, fold, several[name], heard)


def _span(clip: Utterance) -> tuple[float, float, str]:
    return clip.start, clip.start + float(clip.duration or 0.0), clip.id


def _require_unheard(corpus: Corpus, fold: int, clip: Utterance, heard: _Spans) -> None:
    start, end, _ = _span(clip)
    spans = heard[clip.wav]
    behind = bisect.bisect_left(spans, (end,))
    for first, last, other in spans[:behind]:
        if min(last, end) - max(first, start) > _SHARE * (end - start):
            raise InputError(
                f"{corpus.data_folder}: fold {fold} tests {clip.id}, most of which is "
                f"in {other}, which trains or validates: {os.fspath(clip.wav)}, "
                f"{start:g} to {end:g} s and {first:g} to {last:g} s; leave one of the "
                "two out, or keep both in one fold (fold_by)"
            )
