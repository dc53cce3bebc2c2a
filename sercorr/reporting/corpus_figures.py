"""The figures of a corpus, as JSON has them; tables and picture show the same."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sercorr.corpora.agreement import summarise_votes
from sercorr.corpora.inspection import Inspection
from sercorr.corpora.prepared import Folds
from sercorr.data.counts import compare_with_full_release, count_clips
from sercorr.data.splits import PARTS
from sercorr.data.utterances import UNKNOWN, Corpus, Utterance

Figures = dict[str, Any]

LONG = 30.0  # seconds; longer clips are named
QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


def corpus_figures(
    corpus: Corpus,
    labels: Sequence[str],
    inspection: Inspection,
    copies: Sequence[Sequence[Utterance]] | None,
    folds: Folds | None = None,
) -> Figures:
    """Put all figures of a corpus together.

    Arguments
    ---------
    corpus : Corpus
        Whose clips of the ``labels`` are counted.
    labels : sequence of str
        The classes, in the order in which they are shown.
    inspection : Inspection
        Of the files of these clips.
    copies : sequence of sequence of Utterance, optional
        From `sercorr.corpora.inspection.find_copies`; None where nobody looked.
    folds : dict, optional
        From manifests; without it, the corpus's official folds or split, if any.

    Returns
    -------
    dict
        Only what JSON knows. Hours and durations are those of the usable clips of the
        labels; everything else is of all clips of the labels.
    """
    clips = clips_of(corpus, labels)
    durations = inspection.durations
    present = {clip.group for clip in clips}
    groups = [group for group in corpus.groups if group in present]
    by_speaker = _table(((clip.speaker, clip.emotion) for clip in clips), labels)
    by_size = sorted(by_speaker.items(), key=lambda item: -sum(item[1].values()))
    group_of = defaultdict(set)
    for clip in clips:
        group_of[clip.speaker].add(clip.group)
    long = sorted((s, name) for name, s in durations.items() if s > LONG)[::-1]
    kind = "manifests" if folds else "official"
    folds = folds or official_folds(clips)
    return {
        "name": corpus.name,
        "data_folder": str(corpus.data_folder),
        "group_name": corpus.group_name,
        "clips": len(clips),
        "classes_left_out": {
            name: count for name, count in corpus.emotions.items() if name not in labels
        },
        "clips_without_class": sum(c.emotion is None for c in corpus.utterances),
        "hours": sum(durations.values()) / 3600,
        "speakers": len(by_speaker.keys() - {UNKNOWN}),
        "clips_of_unknown_speakers": sum(by_speaker.get(UNKNOWN, {}).values()),
        "classes": [
            {
                "class": label,
                **_lengths([c for c in clips if c.emotion == label], durations),
            }
            for label in labels
        ],
        "all": _lengths(clips, durations),
        "groups": _rows(
            groups, _table(((clip.group, clip.emotion) for clip in clips), labels)
        ),
        "groups_are_speakers": all(clip.group == clip.speaker for clip in clips),
        "speakers_in_several_groups": sorted(
            name for name, some in group_of.items() if len(some) > 1 and name != UNKNOWN
        ),
        "clips_of_speakers": _rows((name for name, _ in by_size), by_speaker),
        "traits": _traits(clips),
        "formats": [
            {**form._asdict(), "files": count}
            for form, count in inspection.formats.items()
        ],
        "faults": inspection.faults,
        "copies": None if copies is None else [_copy(some) for some in _worst(copies)],
        "long": {name: seconds for seconds, name in long},
        "folds": {
            "kind": kind if folds else None,
            "folds": [_fold(name, parts) for name, parts in folds.items()],
        },
        "agreement": summarise_votes(clips),
        "notes": [
            *corpus.notes,
            *compare_with_full_release(corpus, count_clips(corpus, clips, labels)),
        ],
    }


def clips_of(corpus: Corpus, labels: Sequence[str]) -> list[Utterance]:
    """Return a corpus's clips of ``labels``, sorted by id."""
    wanted = set(labels)
    return [clip for clip in corpus.utterances if clip.emotion in wanted]


def official_folds(clips: Sequence[Utterance]) -> Folds:
    """Return the folds, or the split, that a corpus brings; empty where there is none.

    Of folds, the part ``train`` is all that the others test.
    """
    if any(clip.split for clip in clips):
        return {"1": {p: [c for c in clips if c.split == p] for p in PARTS}}
    inside = [clip for clip in clips if clip.fold is not None]
    folds = sorted(
        {clip.fold for clip in inside}, key=lambda n: (isinstance(n, str), n)
    )
    return {
        str(fold): {
            "train": [clip for clip in inside if clip.fold != fold],
            "valid": [],
            "test": [clip for clip in inside if clip.fold == fold],
        }
        for fold in folds
    }


def _traits(clips: Sequence[Utterance]) -> dict[str, dict[str, int]]:
    """Count the clips by each word of each trait."""
    names = sorted({name for clip in clips for name in clip.traits or ()})
    words = {name: [(clip.traits or {}).get(name) for clip in clips] for name in names}
    return {
        name: dict(sorted(Counter(filter(None, some)).items()))
        for name, some in words.items()
    }


def _table(
    pairs: Iterable[tuple[Any, str | None]], labels: Sequence[str]
) -> dict[Any, dict[str, int]]:
    found = Counter(pairs)
    rows: dict[Any, dict[str, int]] = {}
    for (name, label), count in found.items():
        rows.setdefault(name, dict.fromkeys(labels, 0))[str(label)] = count
    return rows


def _rows(
    names: Iterable[Any], table: Mapping[Any, Mapping[str, int]]
) -> list[dict[str, Any]]:
    """Return rows as a list: JSON would make texts of names that are numbers."""
    return [{"name": name, "clips": table[name]} for name in names]


def _lengths(
    clips: Sequence[Utterance], durations: Mapping[str, float]
) -> dict[str, Any]:
    """Count clips and speakers, and describe durations (seconds) and their sum."""
    seconds = np.array([durations[c.id] for c in clips if c.id in durations])
    speakers = {clip.speaker for clip in clips} - {UNKNOWN}
    row = {"clips": len(clips), "speakers": len(speakers), "hours": 0.0}
    if not len(seconds):
        return {**row, **dict.fromkeys((*QUANTILES, "mean"))}
    quantiles = np.quantile(seconds, list(QUANTILES.values())).tolist()
    return {
        **row,
        "hours": float(seconds.sum()) / 3600,
        **dict(zip(QUANTILES, quantiles, strict=True)),
        "mean": float(seconds.mean()),
    }


def _copy(clips: Sequence[Utterance]) -> dict[str, Any]:
    """Describe clips with the same audio."""
    return {
        "clips": [clip.id for clip in clips],
        "classes": [clip.emotion for clip in clips],
        "speakers": [clip.speaker for clip in clips],
        "differ": _differences(clips),
    }


def _differences(clips: Sequence[Utterance]) -> list[str]:
    differ = []
    if len({clip.emotion for clip in clips}) > 1:
        differ.append("class")
    if len({clip.speaker for clip in clips}) > 1:
        differ.append("speaker")
    return differ


def _worst(copies: Sequence[Sequence[Utterance]]) -> list[Sequence[Utterance]]:
    """Sort copies: those with two classes first, then those with two speakers."""

    def rank(clips: Sequence[Utterance]) -> tuple[bool, bool]:
        differ = _differences(clips)
        return "class" not in differ, "speaker" not in differ

    return sorted(copies, key=rank)


def _fold(name: str, parts: Mapping[str, Sequence[Utterance]]) -> dict[str, Any]:
    """Count the clips and speakers of a fold, and who is heard before the test."""
    speakers = {
        part: {clip.speaker for clip in clips} - {UNKNOWN}
        for part, clips in parts.items()
    }
    shared = speakers["test"] & (speakers["train"] | speakers["valid"])
    return {
        "fold": name,
        **{f"{part}_clips": len(parts[part]) for part in PARTS},
        **{f"{part}_speakers": len(speakers[part]) for part in PARTS},
        "shared_speakers": len(shared),
        "test_clips_of_shared_speakers": sum(
            clip.speaker in shared for clip in parts["test"]
        ),
        "test_clips_of_unknown_speakers": sum(
            clip.speaker == UNKNOWN for clip in parts["test"]
        ),
    }
