"""What the reader of a table has to say about it, one line each."""

from collections import Counter
from collections.abc import Sequence

from sercorr.corpora.rows import Row
from sercorr.data.counts import list_counts
from sercorr.data.utterances import UNKNOWN, Utterance


def describe_clips(clips: Sequence[Utterance], rows: Sequence[Row]) -> list[str]:
    """Say what is left out, and what to know of the speakers.

    ``clips`` are those of ``rows``, a whole table.
    """
    notes = []
    left_out = [clip for clip in clips if clip.emotion is None]
    counts = Counter(clip.code for clip in left_out if clip.code is not None)
    unlabelled = len(left_out) - counts.total()
    if counts:
        notes.append(
            f"{counts.total()} clips are left out, as their labels are dropped: "
            f"{list_counts(counts)}"
        )
    if unlabelled:
        notes.append(f"left out, as they have no emotion: {unlabelled}")
    if repeated := len(rows) - len(clips):
        notes.append(f"rows that repeat another one, taken once: {repeated}")
    speakers = [clip.speaker for clip in clips if clip.speaker != UNKNOWN]
    if len(speakers) < len(clips):
        notes.append(f"clips whose speaker is unknown: {len(clips) - len(speakers)}")
    spellings: dict[str, set[str]] = {}
    for name in speakers:
        spellings.setdefault(" ".join(name.lower().split()), set()).add(name)
    if unlike := sorted(min(names) for names in spellings.values() if len(names) > 1):
        shown = ", ".join(sorted(spellings[" ".join(unlike[0].lower().split())]))
        notes.append(
            f"speakers whose names differ in capitals or blanks alone: {len(unlike)}, "
            f"such as {shown}; they are taken for different people"
        )
    if len(set(speakers)) == len(clips) > 1:
        notes.append(
            "every clip has a speaker of its own; if nobody knows who speaks, write "
            "unknown, since folds of such speakers do not keep speakers apart"
        )
    if "group" in rows[0]:
        notes += _shared(clips)
    return notes


def _shared(clips: Sequence[Utterance]) -> list[str]:
    """Say which speakers are in several groups."""
    places: dict[str, dict[int | str, str]] = {}
    for clip in clips:
        if clip.speaker != UNKNOWN:
            place = clip.place.rpartition(", ")[2]
            places.setdefault(clip.speaker, {}).setdefault(clip.group, place)
    shared = {name: groups for name, groups in places.items() if len(groups) > 1}
    if not shared:
        return []
    name, groups = next(iter(sorted(shared.items())))
    where = ", ".join(f"{group} ({place})" for group, place in list(groups.items())[:5])
    return [
        f"speakers in several groups: {len(shared)} of {len(places)}, such as {name}: "
        f"{where}; fold_by group would not keep them apart"
    ]
