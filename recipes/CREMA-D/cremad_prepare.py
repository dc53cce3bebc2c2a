"""Read CREMA-D (Cao et al. 2014, ODbL): 91 actors say twelve sentences.

A recording's name says what was acted: ``AudioWAV/1001_IEO_ANG_HI.wav`` is actor 1001,
sentence IEO, anger, high intensity. What people took the clips for stands in
``processedResults/tabulatedVotes.csv``, three rows a clip: the number of a row begins
with 1 where they only heard it, with 2 where they only saw the face, with 3 for both::

    "","A","D","F","H","N","S","fileName","numResponses", ...
    "100004",2,0,0,6,2,0,"1001_IEO_HAP_HI",10, ...

The rows of voices alone are read. Copies of the sound in other formats are not. Who the
actors are stands in ``VideoDemographics.csv``; where it is there, their sex is read::

    ActorID,Age,Sex,Race,Ethnicity
    1001,51,Male,Caucasian,Not Hispanic
"""

import csv
import operator
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

CLASS_OF_CODE = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
FOLDS = {
    1: range(1001, 1019),
    2: range(1019, 1037),
    3: range(1037, 1055),
    4: range(1055, 1073),
    5: range(1073, 1092),
}
"""The actors that each of the five folds tests."""

SILENT = "1076_MTI_SAD_XX"
"""A clip of 7,442 whose file has no sound; it is left out."""

PUBLISHED = {
    "all": {
        "angry": 1271,
        "disgust": 1271,
        "fearful": 1271,
        "happy": 1271,
        "neutral": 1087,
        "sad": 1270,  # and the silent one
    }
}
"""Clips of the full release by what was acted."""

LABELS_BY = ("acted", "voice")
VOTES = "processedResults/tabulatedVotes.csv"
ACTORS = "VideoDemographics.csv"
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high"}
"""How strong the emotion was asked to be; XX: not said."""

_CLASS_OF_VOTE = {code[0]: name for code, name in CLASS_OF_CODE.items()}
_NAME = re.compile(r"(10\d\d)_[A-Z]{3}_([A-Z]{3})_(LO|MD|HI|XX)")
_RENAMED = {"1040_ITH_SAD_X": "1040_ITH_SAD_XX"}  # in copies of before October 2022
_LAYOUT = (
    "expected the folder AudioWAV with recordings such as 1001_IEO_ANG_HI.wav (actor "
    f"1001 to 1091, sentence, {', '.join(CLASS_OF_CODE)}, intensity)"
)
_COLUMNS = (*_CLASS_OF_VOTE, "fileName")


def read_cremad(data_folder: str | os.PathLike, labels_by: str = "acted") -> Corpus:
    """Read the names of all recordings, and the votes of those who heard them.

    The five folds of actors are the groups, too. ``vote_counts`` are the votes on the
    voice alone, whatever the labels are; a clip without such votes has none. ``traits``
    are the actor's ``gender`` and the acted ``intensity``, where they are known.

    Arguments
    ---------
    data_folder : path
        Has ``AudioWAV``, and ``processedResults`` where votes are wanted.
    labels_by : str
        ``acted``: the emotion that the actor was asked for. ``voice``: the one that
        most of those who only heard the clip chose; a clip on which two are level, or
        which has no votes, belongs to no class.

    Returns
    -------
    Corpus
        Without the silent clip; its notes say what else is missing.

    Raises
    ------
    InputError
        There is no recording; a recording has a name of another form, or is a pointer
        of Git LFS; the file of votes or of actors cannot be parsed, or that of votes is
        missing where it labels.
    """
    if labels_by not in LABELS_BY:
        raise InputError(
            f"labels_by is {labels_by!r}; it must be {' or '.join(LABELS_BY)}"
        )
    root = Path(data_folder)
    votes = _read_votes(root)
    if votes is None and labels_by == "voice":
        raise InputError(
            f"{root / VOTES}: no such file; labels_by voice needs it: copy it there, "
            "or use --labels_by acted"
        )
    named = _read_names(root)
    clips = [clip for clip in named if clip.id != SILENT]
    notes = []
    if len(clips) < len(named):
        notes.append(f"{SILENT} is left out: its file is silent")
    if votes is None:
        notes.append(f"there is no {VOTES}: clips have no votes")
    else:
        clips = [replace(clip, vote_counts=votes.get(clip.id)) for clip in clips]
        if unheard := sum(not clip.vote_counts for clip in clips):
            notes.append(f"{unheard} clips have no votes on the voice")
    if labels_by == "voice":
        acted = [clip.emotion for clip in clips]
        clips = [replace(c, emotion=majority(c.vote_counts or {})) for c in clips]
        heard = [clip.emotion for clip in clips]
        same = sum(map(operator.eq, acted, heard)) / max(len(clips), 1)
        notes.append(
            f"labels are what most heard: what was acted in {same:.1%} of the "
            f"clips; {heard.count(None)} clips on which no emotion has most votes are "
            "left out"
        )
    return Corpus(
        "CREMA-D",
        root,
        clips,
        group_name="fold",
        published=PUBLISHED if labels_by == "acted" else {},
        notes=notes,
    )


def parse_votes(lines: Iterable[str], name: str) -> dict[str, dict[str, int]]:
    """Parse the table of votes: clip -> emotion -> votes on the voice alone.

    Emotions without votes are left out. ``name`` is for messages.

    Example
    -------
    >>> lines = [
    ...     '"","A","D","F","H","N","S","fileName"',
    ...     '"100004",2,0,0,6,2,0,"1001_IEO_HAP_HI"',
    ...     '"200004",0,0,0,9,0,0,"1001_IEO_HAP_HI"',
    ... ]
    >>> parse_votes(lines, "tabulatedVotes.csv")
    {'1001_IEO_HAP_HI': {'angry': 2, 'happy': 6, 'neutral': 2}}
    """
    reader = csv.DictReader(lines)
    fields = list(reader.fieldnames or [])
    if not set(_COLUMNS) <= set(fields) or fields[0] in _COLUMNS:
        raise InputError(
            f"{name}: its columns are {fields[:12]}; expected one of row numbers, then "
            f"{', '.join(_COLUMNS)}; copy the file from the release again"
        )
    votes: dict[str, dict[str, int]] = {}
    for row in reader:
        number, clip = row[fields[0]] or "", row["fileName"]
        counts = [row[letter] or "" for letter in _CLASS_OF_VOTE]
        place = f"{name}, line {reader.line_num}"
        if not re.fullmatch(r"[123]\d{5}", number) or not all(
            re.fullmatch(r"\d+", count) for count in counts
        ):
            raise InputError(
                f"{place}: found row {number!r} with votes {', '.join(counts)}; "
                "expected a number such as 100004 and six counts; copy the file from "
                "the release again"
            )
        if number[0] != "1":
            continue
        if clip in votes:
            raise InputError(f"{place}: {clip} has votes already; keep one of the rows")
        votes[clip] = {
            emotion: int(count)
            for emotion, count in zip(_CLASS_OF_VOTE.values(), counts, strict=True)
            if int(count)
        }
    return votes


def majority(votes: Mapping[str, float]) -> str | None:
    """Return the emotion with most votes, None where there is no single one.

    Example
    -------
    >>> majority({"angry": 5, "disgust": 5, "sad": 1}), majority({"sad": 2, "happy": 1})
    (None, 'sad')
    """
    most = max(votes.values(), default=0)
    best = [emotion for emotion, count in votes.items() if count == most]
    return best[0] if len(best) == 1 else None


def _read_votes(root: Path) -> dict[str, dict[str, int]] | None:
    path = root / VOTES
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as lines:
        return parse_votes(lines, str(path))


def _read_genders(root: Path) -> dict[str, str]:
    """Read actor -> gender; empty where the release's table of actors is not there."""
    path = root / ACTORS
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as lines:
        reader = csv.DictReader(lines)
        columns = list(reader.fieldnames or [])
        if not {"ActorID", "Sex"} <= set(columns):
            raise InputError(
                f"{path}: its columns are {columns[:12]}; expected ActorID and Sex; "
                "copy the file from the release again, or move it away to do without"
            )
        sexes = {row["ActorID"]: (row["Sex"] or "").strip().lower() for row in reader}
    return {actor: sex for actor, sex in sexes.items() if sex in ("female", "male")}


def _read_names(root: Path) -> list[Utterance]:
    """Read the names of all recordings, with what was acted."""
    clips = []
    genders = _read_genders(root)
    for path in sorted((root / "AudioWAV").glob("[!.]*.wav")):
        name = _RENAMED.get(path.stem, path.stem)
        match = _NAME.fullmatch(name)
        fold = match and _fold(int(match[1]))
        if not match or not fold or match[2] not in CLASS_OF_CODE:
            raise InputError(f"{path}: no recording of CREMA-D; {_LAYOUT}")
        traits = {
            "gender": genders.get(match[1]),
            "intensity": INTENSITIES.get(match[3]),
        }
        known = {trait: word for trait, word in traits.items() if word}
        clips.append(
            Utterance(
                id=name,
                wav=f"AudioWAV/{path.name}",
                emotion=CLASS_OF_CODE[match[2]],
                speaker=match[1],
                group=fold,
                traits=known or None,
                fold=fold,
            )
        )
    if not clips:
        raise InputError(f"{root}: no recording of CREMA-D; {_LAYOUT}")
    with open(root / clips[0].wav, "rb") as file:
        if file.read(30).startswith(b"version https://git-lfs"):
            raise InputError(
                f"{root / clips[0].wav}: a pointer of Git LFS, not the recording; run "
                f"`git lfs pull --include AudioWAV` in {root}"
            )
    return clips


def _fold(actor: int) -> int | None:
    return next((fold for fold, actors in FOLDS.items() if actor in actors), None)
