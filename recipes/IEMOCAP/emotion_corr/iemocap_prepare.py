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

``C-E`` lines are raters' categories, ``C-F`` and ``C-M`` lines the speakers' own.
"""

import argparse
import os
import re
from pathlib import Path

from sercorr.data.manifests import ManifestPlan, plan_manifests
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError, run_program

SESSIONS = (1, 2, 3, 4, 5)
LABELS = ("neu", "hap", "ang", "sad")
"""The four classes, in the order of the labels."""

CLASS_OF_CODE = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
CODES = (*CLASS_OF_CODE, "fru", "fea", "sur", "dis", "oth", "xxx")
"""Every code of the release; those outside the four classes are left out."""

PUBLISHED_DIALOGS, PUBLISHED_TURNS = 151, 10_039
PUBLISHED = {
    1: {"neu": 384, "hap": 135, "exc": 143, "ang": 229, "sad": 194},
    2: {"neu": 362, "hap": 117, "exc": 210, "ang": 137, "sad": 197},
    3: {"neu": 320, "hap": 135, "exc": 151, "ang": 240, "sad": 305},
    4: {"neu": 258, "hap": 65, "exc": 238, "ang": 327, "sad": 143},
    5: {"neu": 384, "hap": 143, "exc": 299, "ang": 170, "sad": 245},
}
"""Clips of the full release by session and code; 5,531 in all."""

_HEAD = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+(\S+)\s+\[[^]]*\]\s*$")
_TURN = re.compile(r"Ses0[1-5][FM]_\w+_[FM][A-Za-z0-9]*", re.ASCII)
_RATER = re.compile(r"C-E(\d+)\s*:([^(]*)")
_LAYOUT = (
    "expected the folders Session1 to Session5, each with dialog/EmoEvaluation/Ses*.txt"
    " and sentences/wav/<dialog>/<turn>.wav"
)


def read_iemocap(data_folder: str | os.PathLike) -> Corpus:
    """Read every label file of a release.

    Arguments
    ---------
    data_folder : path
        The folder that holds Session1 to Session5.

    Returns
    -------
    Corpus
        The same whatever order the system lists folders in.

    Raises
    ------
    InputError
        The folder is no release or lacks a session; a label file cannot be parsed;
        an unknown code; the same turn twice; a turn of another session.
    """
    data_folder = Path(data_folder)
    turns: list[Utterance] = []
    files = _label_files(data_folder)
    for session, file in files:
        for turn in parse_labels(file.read_bytes(), str(file)):
            if turn.group != session:
                raise InputError(
                    f"{turn.place}: the turn {turn.id} is of session {turn.group}, "
                    f"but the file lies in Session{session}; move or remove the file"
                )
            turns.append(turn)
    return Corpus(
        "IEMOCAP",
        data_folder,
        turns,
        group_name="session",
        codes={"hap": ("hap", "exc")},
        published=PUBLISHED,
        totals={
            "dialogs": (len(files), PUBLISHED_DIALOGS),
            "turns": (len(turns), PUBLISHED_TURNS),
        },
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

    With data and settings unchanged, nothing is written.

    Arguments
    ---------
    data_folder : path
        The release: the folder that holds Session1 to Session5.
    manifest_folder : path
        Where to write; made if missing.
    valid_ratio : float
        Share of the other four sessions' clips to validate on, drawn at random.
    valid_session : int, optional
        Validate on this whole session instead (``valid_ratio`` is then unused). In the
        fold that tests it, the next session takes its place (1 follows 5).
    seed : int
        Seed of the draw (the recipe's ``split_seed``).
    skip_bad_audio : bool
        Leave out clips that are missing, unreadable, truncated or too short, and list
        them in ``skipped_audio.txt``, rather than stop.

    Returns
    -------
    ManifestPlan
        With ``counts``, ``clips`` and ``digests``.

    Raises
    ------
    InputError
        What `read_iemocap` and `sercorr.data.manifests.plan_manifests` refuse;
        ``manifest_folder`` cannot be written.
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
    r"""Parse one label file.

    A turn's id ends in an underscore and the letter of its speaker; what stands before
    is the dialog, which is the folder of its clip. The letter before the first
    underscore says who wore the markers.

    Arguments
    ---------
    content : bytes
        The file, with Unix or Windows line ends, in UTF-8 or Latin-1.
    name : str
        The file's name, for messages.

    Returns
    -------
    list of Utterance
        In the order of the file; each rater's categories in the order of the raters'
        numbers.

    Raises
    ------
    InputError
        No turns, a first line of a block or a turn's name of another form, or an
        unknown code.

    Example
    -------
    >>> (turn,) = parse_labels(
    ...     b"[1.0 - 2.5]\tSes05M_script01_1b_F000\texc\t[1.5, 4.0, 4.5]\r\n"
    ...     b"C-E2:\tAnger; Sadness;\t(d\xe9j\xe0; vu)\r\nC-F1:\tFear;\t()\r\n",
    ...     "a.txt",
    ... )
    >>> turn.group, turn.speaker, turn.emotion, turn.code, turn.votes
    (5, 'Ses05F', 'hap', 'exc', [['Anger', 'Sadness']])
    >>> turn.wav
    'Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F000.wav'
    """
    heads: list[tuple[str, str, str]] = []
    votes: list[dict[int, list[list[str]]]] = []
    # Bytes are split, not text: text would also break at Latin-1's 0x85.
    for number, raw in enumerate(content.splitlines(), start=1):
        line = _decode(raw).strip()
        if line.startswith("["):
            place = f"{name}, line {number}"
            heads.append((*_parse_head(line, place), place))
            votes.append({})
        elif heads and (rater := _RATER.match(line)):
            categories = [part.strip() for part in rater[2].split(";")]
            given = votes[-1].setdefault(int(rater[1]), [])
            given.append(list(filter(None, categories)))
    if not heads:
        raise InputError(
            f"{name}: no labelled turn in {len(content)} bytes; expected lines such as "
            "'[1.0 - 2.5]<tab>Ses01F_impro05_F019<tab>ang<tab>[1.5, 4.0, 4.5]'; "
            "copy the file again"
        )
    turns = []
    for (turn, code, place), by_rater in zip(heads, votes, strict=True):
        session = int(turn[4])
        dialog, end = turn.rsplit("_", 1)
        turns.append(
            Utterance(
                id=turn,
                wav=f"Session{session}/sentences/wav/{dialog}/{turn}.wav",
                emotion=CLASS_OF_CODE.get(code),
                speaker=turn[:5] + end[0],
                group=session,
                code=code,
                votes=[vote for _, given in sorted(by_rater.items()) for vote in given],
                place=place,
            )
        )
    return turns


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _parse_head(line: str, place: str) -> tuple[str, str]:
    match = _HEAD.match(line)
    if match is None:
        raise InputError(
            f"{place}: found {line[:100]!r}, expected "
            "'[start - end]<tab>turn<tab>code<tab>[v, a, d]'; mend the line"
        )
    turn, code = match.groups()
    if not _TURN.fullmatch(turn):
        raise InputError(
            f"{place}: {turn!r} is not the name of a turn, such as Ses01F_impro05_F019 "
            "or Ses05M_script01_1b_M003; mend the line"
        )
    if code not in CODES:
        raise InputError(
            f"{place}: unknown label code {code!r} of turn {turn}; "
            f"it must be one of {', '.join(CODES)}"
        )
    return turn, code


def _label_files(data_folder: Path) -> list[tuple[int, Path]]:
    _check_release(data_folder)
    files: list[tuple[int, Path]] = []
    for session in SESSIONS:
        folder = data_folder / f"Session{session}" / "dialog" / "EmoEvaluation"
        clips = data_folder / f"Session{session}" / "sentences" / "wav"
        for needed in (folder, clips):
            if not needed.is_dir():
                raise InputError(
                    f"{needed}: no such folder, so session {session} is not whole; "
                    f"{_LAYOUT}"
                )
        # The pattern leaves out macOS's ._Ses*.txt.
        found = sorted(path for path in folder.glob("Ses*.txt") if path.is_file())
        if not found:
            raise InputError(
                f"{folder}: no label file Ses*.txt among {_listing(folder)}; {_LAYOUT}"
            )
        files.extend((session, path) for path in found)
    return files


def _check_release(folder: Path) -> None:
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; {_LAYOUT}")
    if not folder.is_dir():
        raise InputError(f"{folder}: a file, not the folder of a release; {_LAYOUT}")
    names = [f"Session{session}" for session in SESSIONS]
    present = [name for name in names if (folder / name).is_dir()]
    if present == names:
        return
    if present:
        missing = [name for name in names if name not in present]
        raise InputError(
            f"{folder}: {', '.join(missing)} missing, found only {', '.join(present)}; "
            "all five sessions are needed: copy the release again"
        )
    nested = sorted(path.parent for path in folder.glob("*/Session1"))
    hint = f"; did you mean {nested[0]}?" if nested else ""
    raise InputError(
        f"{folder}: not an IEMOCAP release: {_LAYOUT}; found {_listing(folder)}{hint}"
    )


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if not names:
        return "nothing (the folder is empty)"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def main() -> None:
    """Prepare from the command line."""
    parser = argparse.ArgumentParser(
        description="Make the manifests of the five folds from an IEMOCAP release: "
        "MANIFESTS/fold_K/{train,valid,test}.json. Fold K tests session K. Nothing is "
        "written where data and settings are unchanged.",
    )
    add = parser.add_argument
    add("data_folder", metavar="DIR", help="the folder with Session1 to Session5")
    add("manifest_folder", metavar="MANIFESTS", help="where to write; made if missing")
    add(
        "--valid_ratio",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of the other sessions' clips to validate on, drawn at random (0.2)",
    )
    add(
        "--valid_session",
        type=int,
        metavar="K",
        help="validate on this whole session instead; the next one takes its place in "
        "the fold that tests it",
    )
    add("--seed", type=int, default=1234, help="of the random draw (1234)")
    add(
        "--skip_bad_audio",
        type=lambda text: {"true": True, "false": False}.get(text.lower(), text),
        choices=(True, False),
        nargs="?",
        const=True,
        default=False,
        help="leave unusable clips out and list them in skipped_audio.txt, rather than "
        "stop (False)",
    )
    prepare_iemocap(**vars(parser.parse_args()))


if __name__ == "__main__":
    run_program(main)
