"""The label files of an IEMOCAP release: folders, turn names, codes, raters.

Only ``SessionK/dialog/EmoEvaluation/Ses*.txt`` is read; sub-folders hold the files of
single raters. A block of a label file looks like this, with tabs between the fields::

    [140.2250 - 145.6000]  Ses01F_impro05_F019  ang  [1.5000, 4.0000, 4.5000]
    C-E1:  Anger; Frustration;  (a free comment; of any kind)
    C-F1:  Anger;  ()
    A-E1:  val 1; act 4; dom 5;  ()

``C-E`` lines are raters' categories, ``C-F`` and ``C-M`` lines the speakers' own.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from sercorr.errors import InputError

SESSIONS = (1, 2, 3, 4, 5)
LABELS = ("neu", "hap", "ang", "sad")
"""The four classes, in the order of the labels."""

CLASS_OF_CODE = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
CODES = (*CLASS_OF_CODE, "fru", "fea", "sur", "dis", "oth", "xxx")
"""Every code of the release; those outside the four classes are left out."""

_HEAD = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+(\S+)\s+\[[^]]*\]\s*$")
_TURN = re.compile(r"Ses0[1-5][FM]_\w+_[FM][A-Za-z0-9]*", re.ASCII)
_RATER = re.compile(r"C-E(\d+)\s*:([^(]*)")
_LAYOUT = (
    "expected the folders Session1 to Session5, each with dialog/EmoEvaluation/Ses*.txt"
    " and sentences/wav/<dialog>/<turn>.wav"
)


@dataclass(frozen=True)
class Turn:
    """One labelled turn.

    Arguments
    ---------
    name : str
        The turn's id. Its last underscore ends the name of the dialog; the letter
        behind it says who speaks. (The letter before the first underscore says who
        wore the markers.)
    code : str
        The release's own code, one of ``CODES``.
    votes : tuple of tuple of str
        Each rater's categories, in the order of the raters' numbers.
    place : str
        File and line of the label, for messages.

    Example
    -------
    >>> turn = Turn("Ses05M_script01_1b_F000", "exc", (("Excited",),), "line 3")
    >>> turn.session, turn.dialog, turn.speaker, turn.emo
    (5, 'Ses05M_script01_1b', 'Ses05F', 'hap')
    >>> turn.wav
    'Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F000.wav'
    """

    name: str
    code: str
    votes: tuple[tuple[str, ...], ...]
    place: str

    @property
    def session(self) -> int:
        """Number of the session, 1 to 5."""
        return int(self.name[4])

    @property
    def dialog(self) -> str:
        """Name of the dialog, which is the folder of its wav files."""
        return self.name.rsplit("_", 1)[0]

    @property
    def speaker(self) -> str:
        """The speaker, such as ``Ses01F``."""
        return self.name[:5] + self.name.rsplit("_", 1)[1][0]

    @property
    def emo(self) -> str | None:
        """The class, one of ``LABELS``; None outside the four classes."""
        return CLASS_OF_CODE.get(self.code)

    @property
    def wav(self) -> str:
        """Path of the clip within the release."""
        return f"Session{self.session}/sentences/wav/{self.dialog}/{self.name}.wav"


@dataclass(frozen=True)
class Labels:
    """All labels of a release.

    Arguments
    ---------
    turns : tuple of Turn
        Sorted by name.
    dialogs : int
        Number of label files.
    digest : str
        SHA-256 over names and bytes of the label files.
    """

    turns: tuple[Turn, ...]
    dialogs: int
    digest: str


def read_labels(data_folder: Path) -> Labels:
    """Read every label file of a release.

    Arguments
    ---------
    data_folder : pathlib.Path
        The folder that holds Session1 to Session5.

    Returns
    -------
    Labels
        The same whatever order the system lists folders in.

    Raises
    ------
    InputError
        The folder is no release or lacks a session; a label file cannot be parsed;
        an unknown code; the same turn twice; a turn of another session.
    """
    turns: dict[str, Turn] = {}
    digest = hashlib.sha256()
    files = _label_files(data_folder)
    for file in files:
        relative = file.relative_to(data_folder).as_posix()
        content = file.read_bytes()
        digest.update(f"{relative}\0{len(content)}\0".encode())
        digest.update(content)
        session = int(relative[len("Session")])
        for turn in parse_labels(content, str(file)):
            if turn.session != session:
                raise InputError(
                    f"{turn.place}: the turn {turn.name} is of session {turn.session}, "
                    f"but the file lies in Session{session}; move or remove the file"
                )
            if (other := turns.get(turn.name)) is not None:
                raise InputError(
                    f"{turn.place}: the turn {turn.name} is labelled twice, the first "
                    f"time at {other.place}; keep one of the two"
                )
            turns[turn.name] = turn
    ordered = tuple(turns[name] for name in sorted(turns))
    return Labels(ordered, len(files), digest.hexdigest())


def parse_labels(content: bytes, name: str) -> list[Turn]:
    r"""Parse one label file.

    Arguments
    ---------
    content : bytes
        The file, with Unix or Windows line ends, in UTF-8 or Latin-1.
    name : str
        The file's name, for messages.

    Returns
    -------
    list of Turn
        In the order of the file.

    Raises
    ------
    InputError
        No turns, a first line of a block or a turn's name of another form, or an
        unknown code.

    Example
    -------
    >>> turns = parse_labels(
    ...     b"[1.0 - 2.5]\tSes01F_impro05_F019\tang\t[1.5, 4.0, 4.5]\r\n"
    ...     b"C-E2:\tAnger; Sadness;\t(d\xe9j\xe0; vu)\r\nC-F1:\tFear;\t()\r\n",
    ...     "a.txt",
    ... )
    >>> [(turn.name, turn.code, turn.votes) for turn in turns]
    [('Ses01F_impro05_F019', 'ang', (('Anger', 'Sadness'),))]
    """
    heads: list[tuple[str, str, str]] = []
    votes: list[list[tuple[int, tuple[str, ...]]]] = []
    # Bytes are split, not text: text would also break at Latin-1's 0x85.
    for number, raw in enumerate(content.splitlines(), start=1):
        line = _decode(raw).strip()
        if line.startswith("["):
            place = f"{name}, line {number}"
            heads.append((*_parse_head(line, place), place))
            votes.append([])
        elif heads and (rater := _RATER.match(line)):
            categories = [part.strip() for part in rater[2].split(";")]
            votes[-1].append((int(rater[1]), tuple(filter(None, categories))))
    if not heads:
        raise InputError(
            f"{name}: no labelled turn in {len(content)} bytes; expected lines such as "
            "'[1.0 - 2.5]<tab>Ses01F_impro05_F019<tab>ang<tab>[1.5, 4.0, 4.5]'; "
            "copy the file again"
        )
    return [
        Turn(turn, code, tuple(vote for _, vote in sorted(given, key=_number)), place)
        for (turn, code, place), given in zip(heads, votes, strict=True)
    ]


def _number(vote: tuple[int, tuple[str, ...]]) -> int:
    return vote[0]


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


def _label_files(data_folder: Path) -> list[Path]:
    _check_release(data_folder)
    files = []
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
        files.extend(found)
    return files


def _check_release(folder: Path) -> None:
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; {_LAYOUT}")
    if not folder.is_dir():
        raise InputError(f"{folder}: a file, not the folder of a release; {_LAYOUT}")
    names = [f"Session{session}" for session in SESSIONS]
    missing = [name for name in names if not (folder / name).is_dir()]
    if not missing:
        return
    if len(missing) < len(names):
        present = [name for name in names if name not in missing]
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
