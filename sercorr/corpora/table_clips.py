"""From the rows of a table to clips: what each column may say."""

import os
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields

from sercorr.corpora.rows import Row, prefixed_columns, read_part
from sercorr.corpora.table_votes import read_votes
from sercorr.data.utterances import UNKNOWN, Utterance
from sercorr.errors import InputError

TRAITS = ("gender", "style")
"""Traits whose columns need no prefix."""

TRAIT_PREFIX = "trait_"
"""Before the name of any other trait in the name of its column."""

_SPLITS = {
    "train": "train",
    "dev": "valid",
    "development": "valid",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
}
_SHOWN = 20  # lines in one message
_SAME = [f.name for f in fields(Utterance) if f.name not in ("place", "duration")]


def read_clips(
    source: str,
    rows: Sequence[Row],
    folder: str,
    class_of: Mapping[str, str | None],
    voted: Mapping[str, str],
) -> tuple[list[Utterance], dict[str, list[float]]]:
    """Read each clip once, without its votes.

    Arguments
    ---------
    source : str
        The table, for messages.
    rows : sequence of Row
        All of it.
    folder : str
        Absolute files in it are named relative to it.
    class_of : mapping
        Label -> class, or None where it is dropped.
    voted : mapping
        Label -> column of the votes for it.

    Returns
    -------
    clips : list of Utterance
        ``code`` is the label where the class has another name or several labels.
    votes : dict
        Id -> votes, in the order of ``voted``, of the clips that have any.

    Raises
    ------
    InputError
        Lines make no sense: up to 20 are listed.
    """
    present = {row.text("emotion") for row in rows} - {""}
    names = [class_of[label] for label in present]
    several = {name for name in names if names.count(name) > 1}
    here = list(dict.fromkeys((os.path.abspath(folder), os.path.realpath(folder))))
    numbers = {
        column: _as_numbers({row.text(column) for row in rows})
        for column in ("group", "fold")
    }
    has_groups = "group" in rows[0]
    traits = trait_columns(source, rows[0])
    faults: list[tuple[int | str, str]] = []
    found: dict[tuple[str, float, float | None], tuple[Row, Utterance]] = {}
    lines: dict[str, int | str] = {}  # of ids
    votes: dict[str, list[float]] = {}
    for row in rows:
        try:
            start, end = read_part(row)
            wav = _normal(row["file"], here)
            speaker = _speaker(row)
            label = row.text("emotion")
            name = class_of[label] if label else None
            given = read_votes(row, voted)
            fold = row.text("fold")
            clip = Utterance(
                id=row.text("id") or default_id(wav, start, end),
                wav=wav,
                emotion=name,
                speaker=speaker,
                group=numbers["group"][_group(row)] if has_groups else speaker,
                code=label if label and (label != name or name in several) else None,
                traits=_traits(row, traits),
                start=start,
                end=end,
                fold=numbers["fold"][fold] if fold else None,
                split=_split(row),
                place=f"{source}, line {row.line}",
            )
            first, before = found.setdefault((wav, start, end), (row, clip))
            if before is not clip:
                _require_same(clip, before, first.line, given, votes.get(before.id))
            elif (line := lines.setdefault(clip.id, row.line)) != row.line:
                raise ValueError(f"the id {clip.id} is that of line {line}, too")
            elif given:
                votes[clip.id] = given
        except ValueError as error:
            faults.append((row.line, str(error)))
    _raise(source, faults)
    return [clip for _, clip in found.values()], votes


def trait_columns(source: str, columns: Collection[str]) -> dict[str, str]:
    """Find the columns of traits: trait -> column; ``source`` is for messages.

    Example
    -------
    >>> trait_columns("a.csv", ["file", "gender", "Trait_accent"])
    {'gender': 'gender', 'accent': 'Trait_accent'}
    """
    plain = {name: name for name in TRAITS if name in columns}
    more = prefixed_columns(source, columns, TRAIT_PREFIX, "the trait")
    for name in plain.keys() & more.keys():
        raise InputError(
            f"{source}: {name} and {more[name]} are both the trait {name}; rename or "
            "remove one"
        )
    return plain | more


def default_id(wav: str, start: float = 0.0, end: float | None = None) -> str:
    """Return the id of a clip without one.

    Example
    -------
    >>> default_id("a.wav"), default_id("a.wav", 1.5, 2), default_id("a.wav", 2)
    ('a.wav', 'a.wav#1.5-2.0', 'a.wav#2.0-')
    """
    if start == 0 and end is None:
        return wav
    return f"{wav}#{float(start)}-{'' if end is None else float(end)}"


def _normal(file: str, folders: Sequence[str]) -> str:
    """Write a path with /, without "." in it, and relative to the folder it is in."""
    if not file:
        raise ValueError("file is empty; name an audio file")
    if "://" in file:
        raise ValueError(f"file is {file}; download it, and name the file on this disk")
    if "\\" in file and "/" not in file:
        file = file.replace("\\", "/")
    if ".." not in file.split("/"):  # which may lead elsewhere through a link
        file = posixpath.normpath(file)
    if os.path.isabs(file):
        for folder in folders:
            if file.startswith(folder + "/"):
                return file[len(folder) + 1 :]
    return file


def _speaker(row: Row) -> str:
    speaker = row.text("speaker")
    return UNKNOWN if speaker.lower() in ("", UNKNOWN) else speaker


def _traits(row: Row, columns: Mapping[str, str]) -> dict[str, str] | None:
    cells = {trait: row.text(column) for trait, column in columns.items()}
    known = {
        trait: word
        for trait, word in cells.items()
        if word.lower() not in ("", UNKNOWN)
    }
    return known or None


def _group(row: Row) -> str:
    if not (group := row.text("group")):
        raise ValueError("group is empty; fill the column, or remove it")
    return group


def _split(row: Row) -> str | None:
    if not (split := row.text("split")):
        return None
    if split.lower() not in _SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(_SPLITS)}")
    return _SPLITS[split.lower()]


def _as_numbers(texts: Iterable[str]) -> dict[str, int | str]:
    """Read texts as whole numbers if all are, so that 9 comes before 10."""
    given = [text for text in texts if text]
    if all(text.isdecimal() and str(int(text)) == text for text in given):
        return {text: int(text) for text in given}
    return {text: text for text in given}


def _require_same(
    clip: Utterance,
    before: Utterance,
    line: int | str,
    given: list[float] | None,
    known: list[float] | None,
) -> None:
    """Refuse a clip that is there twice, unless both rows say the same."""
    different = [n for n in _SAME if getattr(clip, n) != getattr(before, n)]
    if clip.emotion != before.emotion or clip.code != before.code:
        one, two = (each.code or each.emotion for each in (before, clip))
        said = f"emotion {one} there, {two} here"
    elif different:
        name = different[0]
        said = f"{name} {getattr(before, name)} there, {getattr(clip, name)} here"
    elif given != known:
        said = "other votes there than here"
    else:
        return
    raise ValueError(
        f"{clip.wav} is also in line {line}, with {said}; keep one row for each clip"
    )


def _raise(source: str, faults: list[tuple[int | str, str]]) -> None:
    if len(faults) == 1:
        raise InputError(f"{source}, line {faults[0][0]}: {faults[0][1]}")
    if faults:
        shown = [f"\n  line {line}: {fault}" for line, fault in faults[:_SHOWN]]
        if rest := len(faults) - len(shown):
            shown.append(f"\n  and {rest} more")
        raise InputError(
            f"{source}: {len(faults)} lines make no sense" + "".join(shown)
        )
