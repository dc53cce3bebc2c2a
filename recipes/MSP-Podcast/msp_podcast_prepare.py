"""Read MSP-Podcast (Lotfian & Busso 2019), releases 1.11 to 2.0: turns of podcasts.

``Labels/labels_consensus.csv`` (in older releases ``labels_concensus.csv``) has a turn
on each row::

    FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
    MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1

``Labels/labels_detailed.csv`` has each rater's main emotion: in the column
EmoClass_Major (2.0), or as the second field of the column EmoDetail (before):
``WORKER00000001; Happy; Happy,Amused; A:5; V:6; D:4;``. The sound of a turn lies in
``Audios``.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from sercorr.data.counts import list_counts
from sercorr.data.utterances import UNKNOWN, Corpus, Utterance
from sercorr.errors import InputError

CLASS_OF_CODE = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprised",
    "F": "fearful",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
}
CODES = (*CLASS_OF_CODE, "O", "X")
"""Every code of a release; other emotions and turns without agreement are left out."""

SPLITS = {"Train": "train", "Development": "valid", "Validation": "valid"}
TESTS = ("Test1", "Test2")
HIDDEN = "Test3"
"""The test set whose labels the authors keep."""

LABELLED = {"1.11": 149_307, "1.12": 203_936, "2.0": 264_705}
"""Labelled turns of the releases: all but Test3's 2,347, 3,200 and 3,200."""

_LABELS = ("labels_consensus.csv", "labels_concensus.csv")  # the newer name first
_VOTES = "labels_detailed.csv"
_AUDIO = ("Audios", "Audio")
_COLUMNS = ("FileName", "EmoClass", "SpkrID", "Split_Set")
_GENDERS = ("female", "male")  # others, such as Unknown, say nothing
_VOTE_COLUMNS = (("FileName", "EmoClass_Major"), ("FileName", "EmoDetail"))
# A rater's main emotion is one of these, or free text such as Other-Annoyed.
_CLASS_OF_CATEGORY = {
    "angry": "angry",
    "sad": "sad",
    "happy": "happy",
    "surprise": "surprised",
    "fear": "fearful",
    "disgust": "disgust",
    "contempt": "contempt",
    "neutral": "neutral",
}
_OTHER = "other"
_LAYOUT = (
    f"expected Labels/{_LABELS[0]}, and the folder Audios with recordings such as "
    "MSP-PODCAST_0001_0008.wav"
)


def read_msp_podcast(data_folder: str | os.PathLike, test: str = "Test1") -> Corpus:
    """Read the labels of a release, with its partitions as the split and the groups.

    One test set is read: speakers of one are in the others, too. ``vote_counts`` are
    the raters' main emotions, those outside the eight as ``other``, where the release's
    file of single labels is there.

    Arguments
    ---------
    data_folder : path
        Has ``Labels`` and ``Audios``.
    test : str
        ``Test1`` or ``Test2``.

    Returns
    -------
    Corpus
        Its notes say what was left out.

    Raises
    ------
    InputError
        A folder or file is missing, or lacks a column; an unknown label or partition;
        no turn of the test set; a turn twice.
    """
    if test not in TESTS:
        raise InputError(
            f"the test partition is {test!r}; it must be {' or '.join(TESTS)} (labels "
            f"of {HIDDEN} are not public)"
        )
    root = Path(data_folder)
    present = [name for name in _LABELS if (root / "Labels" / name).is_file()]
    audio = next((name for name in _AUDIO if (root / name).is_dir()), None)
    if not present or audio is None:
        raise InputError(f"{root}: no release of MSP-Podcast; {_LAYOUT}")
    file = root / "Labels" / present[0]
    votes = read_votes(root / "Labels" / _VOTES)
    turns, parts = [], Counter[str]()
    layouts = (*_COLUMNS, "Gender"), _COLUMNS
    for line, _, (name, code, speaker, part, *gender) in _rows(file, *layouts):
        _check(f"{file}, line {line}", name, code, part)
        parts[part] += 1
        if part not in (*SPLITS, test):
            continue
        known = [g.lower() for g in gender if g.lower() in _GENDERS]
        turns.append(
            Utterance(
                id=name.removesuffix(".wav"),
                wav=f"{audio}/{name}",
                emotion=CLASS_OF_CODE.get(code),
                speaker=UNKNOWN if speaker.lower() in ("", "unknown") else speaker,
                group=part,
                vote_counts=votes.get(name),
                traits={"gender": known[0]} if known else None,
                split=SPLITS.get(part, "test"),
                place=f"{file}, line {line}",
            )
        )
    if test not in parts:
        raise InputError(
            f"{file}: no turn of {test} is in it; its partitions are "
            f"{list_counts(parts) or 'none'}; use a release that has it, or another "
            "--test_partition"
        )
    notes = [f"{present[0]} is read, {name} beside it is not" for name in present[1:]]
    notes += _notes(parts, test)
    if not votes:
        notes.append(f"there is no Labels/{_VOTES}: turns have no votes")
    elif missing := sum(turn.vote_counts is None for turn in turns):
        notes.append(f"{missing} turns have no votes in {_VOTES}")
    return Corpus("MSP-Podcast", root, turns, group_name="partition", notes=notes)


def read_votes(file: Path) -> dict[str, dict[str, int]]:
    r"""Read the raters' main emotions: audio file -> class or ``other`` -> votes.

    The file is read row by row. Where there is none, there are no votes.

    Raises
    ------
    InputError
        The file lacks a column, or none of its emotions is known.

    Example
    -------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels_detailed.csv"
    >>> _ = file.write_text(
    ...     "FileName,EmoDetail\n"
    ...     "MSP-PODCAST_0001_0008.wav,W1; Sad; Sad; A:1; V:2; D:3;\n"
    ...     "MSP-PODCAST_0001_0008.wav,W2; Other-Tired; Sad; A:1; V:2; D:3;\n"
    ... )
    >>> read_votes(file)
    {'MSP-PODCAST_0001_0008.wav': {'sad': 1, 'other': 1}}
    """
    if not file.is_file():
        return {}
    votes: dict[str, dict[str, int]] = {}
    known = 0
    for _, columns, (name, given) in _rows(file, *_VOTE_COLUMNS):
        # EmoDetail: rater; main emotion; all emotions; scales
        category = given if columns[1] != "EmoDetail" else f"{given};".split(";")[1]
        emotion = _CLASS_OF_CATEGORY.get(category.strip().lower(), _OTHER)
        known += emotion != _OTHER
        counts = votes.setdefault(name, {})
        counts[emotion] = counts.get(emotion, 0) + 1
    if not known:
        raise InputError(
            f"{file}: no rater's emotion is one of {', '.join(_CLASS_OF_CATEGORY)}; "
            "copy the file from the release again, or move it away to do without votes"
        )
    order = (*CLASS_OF_CODE.values(), _OTHER)  # whatever that of the rows is
    return {
        name: {emotion: counts[emotion] for emotion in order if emotion in counts}
        for name, counts in votes.items()
    }


def _rows(
    file: Path, *layouts: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    """Yield line, layout and cells: of the first layout whose columns are all there."""
    # Raters' free text is in more than one encoding; what is read of it is ASCII.
    with open(file, newline="", encoding="utf-8-sig", errors="replace") as stream:
        reader = csv.reader(stream)
        header = [cell.strip() for cell in next(reader, [])]
        layout = next((some for some in layouts if set(some) <= set(header)), None)
        if layout is None:
            # a layout that has all columns of another one only says more
            least = [a for a in layouts if not any(set(b) < set(a) for b in layouts)]
            wanted = " or ".join(", ".join(some) for some in least)
            raise InputError(
                f"{file}: its columns are {header[:12]}; expected {wanted}; copy the "
                "file from the release again"
            )
        cells = itemgetter(*map(header.index, layout))
        try:
            for row in filter(None, reader):
                yield reader.line_num, layout, cells(row)
        except (csv.Error, IndexError):
            raise InputError(
                f"{file}, line {reader.line_num}: cells are missing, or a quote is not "
                "closed; copy the file from the release again"
            ) from None


def _check(place: str, name: str, code: str, part: str) -> None:
    if not name.endswith(".wav") or "/" in name or "\\" in name:
        raise InputError(
            f"{place}: FileName is {name!r}, expected a name such as "
            "MSP-PODCAST_0001_0008.wav; mend the line"
        )
    if part not in (*SPLITS, *TESTS, HIDDEN):
        raise InputError(
            f"{place}: unknown partition {part!r} of {name}; it must be one of "
            f"{', '.join((*SPLITS, *TESTS, HIDDEN))}"
        )
    if code not in CODES and part != HIDDEN:
        raise InputError(
            f"{place}: unknown label code {code!r} of {name}; it must be one of "
            f"{', '.join(CODES)}"
        )


def _notes(parts: Counter[str], test: str) -> list[str]:
    """Say which partitions are left out, and if no known release has so many turns."""
    why = dict.fromkeys(TESTS, f"speakers of {test} are among theirs")
    why[HIDDEN] = "their labels are not public"
    notes = [
        f"{parts[name]} turns of {name} are left out: {reason}"
        for name, reason in why.items()
        if name != test and parts[name]
    ]
    labelled = parts.total() - parts[HIDDEN]
    if labelled not in LABELLED.values():
        releases = ", ".join(f"{count} in {name}" for name, count in LABELLED.items())
        notes.append(
            f"no known release has {labelled} labelled turns ({releases}): results may "
            "not compare"
        )
    return notes
