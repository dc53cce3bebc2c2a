#!/usr/bin/env python3
"""Read an IEMOCAP release, and make the manifests of its five folds.

Run as a program for the manifests alone (the recipe's programs make them anyway)::

    python iemocap_prepare.py DATA_FOLDER MANIFEST_FOLDER

Only ``SessionK/dialog/EmoEvaluation/Ses*.txt`` is read; sub-folders hold the files of
single raters. A block of a label file looks like this, with tabs between the fields::

    [140.2250 - 145.6000]  Ses01F_impro05_F019  ang  [1.5000, 4.0000, 4.5000]
    C-E1:  Anger; Frustration;  (a free comment; of any kind)
    C-F1:  Anger;  ()
    A-E1:  val 1; act 4; dom 5;  ()

``C-E`` lines are raters' categories, ``C-F`` and ``C-M`` lines the speakers' own. Each
rater has one vote; one who names several categories gives each an equal share of it.
"""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from sercorr.data.manifests import ManifestPlan, plan_manifests
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError, run_program

SESSIONS = (1, 2, 3, 4, 5)
LABELS = ("neu", "hap", "ang", "sad")
CLASS_OF_CODE = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
CODES = (*CLASS_OF_CODE, "fru", "fea", "sur", "dis", "oth", "xxx")
"""Every code of the release; those outside the four classes are left out."""

CLASS_OF_CATEGORY = {
    "neutral state": "neu",
    "neutral": "neu",
    "happiness": "hap",
    "excited": "hap",
    "anger": "ang",
    "sadness": "sad",
}
"""Raters' categories of the four classes; the others keep their names."""

PUBLISHED = {
    1: {"neu": 384, "hap": 135, "exc": 143, "ang": 229, "sad": 194},
    2: {"neu": 362, "hap": 117, "exc": 210, "ang": 137, "sad": 197},
    3: {"neu": 320, "hap": 135, "exc": 151, "ang": 240, "sad": 305},
    4: {"neu": 258, "hap": 65, "exc": 238, "ang": 327, "sad": 143},
    5: {"neu": 384, "hap": 143, "exc": 299, "ang": 170, "sad": 245},
}
"""Clips of the full release by session and code; 5,531 in all."""

GENDERS = {"F": "female", "M": "male"}
STYLES = {"impro": "improvised", "script": "scripted"}
"""How the name of a dialog goes on -> how its turns came about."""

# In a turn's id, the dialog ends before the last underscore, and the speaker's letter
# follows it; the letter before the first underscore says who wore the markers.
_HEAD = re.compile(
    r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+"
    r"((Ses0([1-5])[FM]_(impro|script)?\w+)_([FM])[A-Za-z0-9]*)\s+(\S+)\s+\[[^]]*\]",
    re.ASCII,
)
_RATER = re.compile(r"C-E(\d+)\s*:([^(]*)")
_LAYOUT = (
    "expected the folders Session1 to Session5, each with dialog/EmoEvaluation/Ses*.txt"
    " and sentences/wav/<dialog>/<turn>.wav"
)


def read_iemocap(data_folder: str | os.PathLike) -> Corpus:
    """Read every label file of a release: the folder that holds Session1 to Session5.

    Raises
    ------
    InputError
        The folder is no release or lacks a session; a label file cannot be parsed;
        an unknown code; the same turn twice.
    """
    data_folder = Path(data_folder)
    _require_release(data_folder)
    turns: list[Utterance] = []
    for session in SESSIONS:
        folder = data_folder / f"Session{session}" / "dialog" / "EmoEvaluation"
        files = sorted(folder.glob("Ses*.txt"))  # not macOS's ._Ses*.txt
        if not files:
            raise InputError(f"{folder}: no label file Ses*.txt is there; {_LAYOUT}")
        for file in files:
            turns += parse_labels(file.read_bytes(), str(file))
    return Corpus(
        "IEMOCAP",
        data_folder,
        turns,
        group_name="session",
        codes={"hap": ("hap", "exc")},
        published=PUBLISHED,
    )


def prepare_iemocap(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    valid_ratio: float = 0.2,
    valid_session: int | None = None,
    seed: int = 1234,
    skip_bad_audio: bool = False,
) -> ManifestPlan:
    """Write the manifests of all five folds, and print the counts.

    With data and settings unchanged, nothing is written. The arguments and what is
    refused are those of `sercorr.data.manifests.plan_manifests`; ``seed`` is its
    ``split_seed``.
    """
    plan = plan_manifests(
        read_iemocap(data_folder),
        manifest_folder,
        labels=LABELS,
        n_folds=len(SESSIONS),
        valid_ratio=valid_ratio,
        valid_session=valid_session,
        split_seed=seed,
        skip_bad_audio=skip_bad_audio,
    )
    plan.write()
    plan.report()
    return plan


def parse_labels(content: bytes, name: str) -> list[Utterance]:
    r"""Parse a label file with any line ends, in UTF-8 or Latin-1.

    Turns are in the order of the file, a turn's votes in that of the raters' numbers.
    ``name`` is for messages.

    Example
    -------
    >>> (turn,) = parse_labels(
    ...     b"[1.0 - 2.5]\tSes05M_script01_1b_F000\texc\t[1.5, 4.0, 4.5]\r\n"
    ...     b"C-E2:\tAnger; Sadness;\t(d\xe9j\xe0; vu)\r\nC-F1:\tFear;\t()\r\n",
    ...     "a.txt",
    ... )
    >>> turn.group, turn.speaker, turn.emotion, turn.code, turn.votes
    (5, 'Ses05F', 'hap', 'exc', [['Anger', 'Sadness']])
    >>> turn.vote_counts
    {'ang': 0.5, 'sad': 0.5}
    >>> turn.traits
    {'gender': 'female', 'style': 'scripted'}
    >>> turn.wav
    'Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F000.wav'
    """
    heads: list[tuple[str, str]] = []
    votes: list[list[tuple[int, list[str]]]] = []  # of each turn: rater, categories
    # Bytes are split, not text: text would also break at Latin-1's 0x85.
    for number, raw in enumerate(content.splitlines(), start=1):
        try:
            line = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            line = raw.decode("latin-1").strip()
        if line.startswith("["):
            heads.append((line, f"{name}, line {number}"))
            votes.append([])
        elif heads and (rater := _RATER.match(line)):
            categories = [part.strip() for part in rater[2].split(";")]
            votes[-1].append((int(rater[1]), list(filter(None, categories))))
    if not heads:
        raise InputError(
            f"{name}: no labelled turn in {len(content)} bytes; copy the file again"
        )
    return [_turn(*head, given) for head, given in zip(heads, votes, strict=True)]


def _turn(line: str, place: str, votes: list[tuple[int, list[str]]]) -> Utterance:
    head = _HEAD.fullmatch(line)
    if head is None:
        raise InputError(
            f"{place}: found {line[:100]!r}, expected a line such as '[1.0 - 2.5]<tab>"
            "Ses01F_impro05_F019<tab>ang<tab>[1.5, 4.0, 4.5]'; mend the line"
        )
    turn, dialog, session, style, letter, code = head.groups()
    if code not in CODES:
        raise InputError(
            f"{place}: unknown label code {code!r} of turn {turn}; "
            f"it must be one of {', '.join(CODES)}"
        )
    given = [vote for _, vote in sorted(votes, key=lambda pair: pair[0])]
    traits = {"gender": GENDERS[letter]}
    if style:
        traits["style"] = STYLES[style]
    return Utterance(
        id=turn,
        wav=f"Session{session}/sentences/wav/{dialog}/{turn}.wav",
        emotion=CLASS_OF_CODE.get(code),
        speaker=f"Ses0{session}{letter}",
        group=int(session),
        code=code,
        votes=given,
        vote_counts=count_votes(given) or None,
        traits=traits,
        place=place,
    )


def count_votes(votes: Sequence[Sequence[str]]) -> dict[str, float]:
    """Add up the votes of raters for classes, each rater's shared among the categories.

    Example
    -------
    >>> count_votes([["Excited", "Happiness"], ["Anger", "Surprise"]])
    {'hap': 1.0, 'ang': 0.5, 'surprise': 0.5}
    """
    counts: dict[str, float] = {}
    for categories in votes:
        for category in categories:
            name = category.lower()
            name = CLASS_OF_CATEGORY.get(name, name)
            counts[name] = counts.get(name, 0.0) + 1 / len(categories)
    return counts


def _require_release(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {_LAYOUT}")
    names = [f"Session{session}" for session in SESSIONS]
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        nested = sorted(path.parent for path in folder.glob("*/Session1"))
        found = ", ".join(sorted(path.name for path in folder.glob("[!.]*"))[:8])
        raise InputError(
            f"{folder}: not a whole IEMOCAP release: {', '.join(missing)} missing, "
            f"found {found or 'nothing'}; {_LAYOUT}"
            + (f"; did you mean {nested[0]}?" if nested else "")
        )


def main() -> None:
    """Prepare from the command line."""
    parser = argparse.ArgumentParser(
        description="Make the manifests of the five folds from an IEMOCAP release: "
        "MANIFESTS/fold_K/{train,valid,test}.json. Fold K tests session K.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("data_folder", metavar="DIR", help="the folder with Session1 to Session5")
    add("manifest_folder", metavar="MANIFESTS", help="where to write; made if missing")
    add("--valid_ratio", type=float, default=0.2, help="share to validate on, drawn")
    add("--valid_session", type=int, help="validate on this whole session instead")
    add("--seed", type=int, default=1234, help="of the random draw")
    add("--skip_bad_audio", choices=("True", "False"), default="False",
        help="leave unusable clips out and list them, rather than stop")  # fmt: skip
    given = vars(parser.parse_args())
    prepare_iemocap(**{**given, "skip_bad_audio": given["skip_bad_audio"] == "True"})


if __name__ == "__main__":
    run_program(main)
