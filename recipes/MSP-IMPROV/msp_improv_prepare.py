r"""Read MSP-IMPROV (Busso et al. 2017): twelve actors in six sessions of two.

All labels are in one file, ``Evalution.txt`` (so spelled). A block of it is a turn with
the class that its raters agree on, then a line for each rater: name, category, other
emotions in the turn, and scales::

    UTD-IMPROV-S01A-F02-R-FM01.avi; A; A:1.50; V:1.75; D:3.00 ; N:4.25;
    WORKER001; Angry; Angry,Frustrated; A:2.00; V:1.00; D:3.00; N:4.00;

A turn's name says the sentence and the emotion asked for (``S01A``), the actor
(``F02``: the woman of session 2) and how it came about (``R`` read, ``S`` or ``T``
improvised, ``P`` between recordings). Its sound begins with MSP instead of UTD:
``session2/S01A/R/MSP-IMPROV-S01A-F02-R-FM01.wav``.
"""

import os
import re
from collections import Counter
from pathlib import Path

from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

LABEL_FILES = ("Evalution.txt", "Evaluation.txt")

CLASS_OF_CODE = {"A": "angry", "H": "happy", "S": "sad", "N": "neutral"}
CODES = (*CLASS_OF_CODE, "O", "X")
"""Every code of the release; O (other) and X (no agreement) are left out."""

GENDERS = {"F": "female", "M": "male"}
STYLES = {"R": "read", "S": "improvised", "T": "improvised", "P": "natural"}
"""How a turn came about, by its letter; natural: between recordings."""

PUBLISHED = {"all": {"angry": 792, "happy": 2644, "sad": 885, "neutral": 3477}}
"""Turns of the full release by class; 8,438 with those that are left out."""

_NAME = r"(?:UTD|MSP)-IMPROV-((S\d\d[A-Z])-([FM]0([1-6]))-([A-Z])-\w+)"
_SOUND = re.compile(_NAME + r"\.wav", re.ASCII)
_HEAD = re.compile(_NAME + r"\.avi\s*;\s*(\w+)\s*;.*", re.ASCII)
# The other emotions are free text, which may hold semicolons, too.
_RATER = re.compile(
    r"(?!\w+-IMPROV-)([^;]+);\s*([A-Za-z]+)\s*;(?:.*;)?"
    r"\s*A:[^;]*;\s*V:[^;]*;\s*D:[^;]*;\s*N:[^;]*;?"
)
_LAYOUT = (
    "expected Evalution.txt and session1 to session6 (or Audio/session1 and so on), "
    "with sounds such as session2/S01A/R/MSP-IMPROV-S01A-F02-R-FM01.wav"
)


def read_msp_improv(data_folder: str | os.PathLike) -> Corpus:
    """Read the label file, and find the sound of every turn.

    A turn's ``vote_counts`` are its raters' categories; a rater who stands twice in a
    turn counts once, with the first line. What raters name beside their category is
    not kept.

    Raises
    ------
    InputError
        ``data_folder`` has no label file or no sound; a line cannot be parsed; a code
        is unknown; a turn is labelled twice, or has two sounds.
    """
    root = Path(data_folder)
    file = next((root / name for name in LABEL_FILES if (root / name).is_file()), None)
    if file is None:
        raise InputError(f"{root}: no label file Evalution.txt is there; {_LAYOUT}")
    sounds = _find_sounds(root)
    turns = parse_labels(file.read_bytes(), str(file), sounds)
    return Corpus("MSP-IMPROV", root, turns, "session", published=PUBLISHED)


def parse_labels(content: bytes, name: str, sounds: dict[str, str]) -> list[Utterance]:
    r"""Parse the label file with any line ends, in UTF-8 or Latin-1.

    ``name`` is for messages; ``sounds`` maps a turn's name without its beginning to its
    file. A turn that is not in it gets the release's place for it.

    Example
    -------
    >>> (turn,) = parse_labels(
    ...     b"UTD-IMPROV-S01A-F02-R-FM01.avi; A; A:1.5; V:2.5; D:3.0 ; N:4.0;\r\n"
    ...     b"W1; Angry; Angry,d\xe9gout; A:1; V:2; D:3; N:4;\r\n"
    ...     b"W2; Other; ; A:1; V:2; D:NaN; N:NaN;\r\n",
    ...     "Evalution.txt",
    ...     {},
    ... )
    >>> turn.emotion, turn.speaker, turn.group, turn.votes, turn.vote_counts
    ('angry', 'F02', 2, [['Angry'], ['Other']], {'angry': 1, 'other': 1})
    >>> turn.traits
    {'gender': 'female', 'style': 'read'}
    >>> turn.wav
    'session2/S01A/R/MSP-IMPROV-S01A-F02-R-FM01.wav'
    """
    heads: list[tuple[re.Match, str]] = []
    votes: list[dict[str, str]] = []  # of each turn: rater -> category
    # Bytes are split, not text: text would also break at Latin-1's 0x85.
    for number, raw in enumerate(content.splitlines(), start=1):
        try:
            line = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            line = raw.decode("latin-1").strip()
        place = f"{name}, line {number}"
        if head := _HEAD.fullmatch(line):
            heads.append((head, place))
            votes.append({})
        elif heads and (rater := _RATER.fullmatch(line)):
            votes[-1].setdefault(rater[1].strip(), rater[2])
        elif line and not line.startswith("%"):
            raise InputError(
                f"{place}: found {line[:100]!r}, expected a turn such as 'UTD-IMPROV-"
                "S01A-F02-R-FM01.avi; A; A:1.5; V:2.5; D:3.0 ; N:4.0;' or a rater such "
                "as 'W1; Angry; Angry; A:1; V:2; D:3; N:4;'; mend the line"
            )
    return [
        _turn(*head, given, sounds) for head, given in zip(heads, votes, strict=True)
    ]


def _turn(
    head: re.Match, place: str, votes: dict[str, str], sounds: dict[str, str]
) -> Utterance:
    tail, sentence, actor, session, kind, code = head.groups()
    identity = f"MSP-IMPROV-{tail}"
    if code not in CODES:
        raise InputError(
            f"{place}: unknown label code {code!r} of turn {identity}; "
            f"it must be one of {', '.join(CODES)}"
        )
    traits = {"gender": GENDERS[actor[0]]}
    if kind in STYLES:
        traits["style"] = STYLES[kind]
    return Utterance(
        id=identity,
        wav=sounds.get(tail, f"session{session}/{sentence}/{kind}/{identity}.wav"),
        emotion=CLASS_OF_CODE.get(code),
        speaker=actor,
        group=int(session),
        votes=[[category] for category in votes.values()],
        vote_counts=dict(Counter(map(str.lower, votes.values()))),
        traits=traits,
        place=place,
    )


def _find_sounds(root: Path) -> dict[str, str]:
    """Map each turn's name, without its beginning, to its file relative to ``root``."""
    sounds: dict[str, str] = {}
    for path in sorted(root.rglob("*.wav")):
        match = _SOUND.fullmatch(path.name)  # not macOS's ._MSP-IMPROV-*.wav
        if match is None:
            continue
        sound = path.relative_to(root).as_posix()
        if (other := sounds.setdefault(match[1], sound)) != sound:
            raise InputError(
                f"{path}: a second sound of the turn, the first is {root / other}; "
                "move one of the two out of the folder"
            )
    if not sounds:
        raise InputError(f"{root}: no sound of a turn is there; {_LAYOUT}")
    return sounds
