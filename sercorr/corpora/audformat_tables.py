"""Databases of audformat as tables; the library is the extra ``audformat``."""

import os
from pathlib import Path
from typing import Any

from sercorr.corpora.rows import Row
from sercorr.errors import InputError

_HEADER = "db.yaml"
_SPLITS = ("train", "dev", "test")  # others are no official ones


def split_audformat(source: str) -> tuple[str, list[str]]:
    """Split ``FOLDER#TABLE,TABLE`` into the folder and names of tables.

    Example
    -------
    >>> split_audformat(".#dev,test"), split_audformat("no folder#1.csv")
    (('.', ['dev', 'test']), ('no folder#1.csv', []))
    """
    folder, _, tables = source.partition("#")
    if os.path.exists(source) or not os.path.isdir(folder):
        return source, []
    return folder, [name.strip() for name in tables.split(",") if name.strip()]


def is_audformat(source: str) -> bool:
    """Say whether ``source`` means a database; other folders are refused."""
    folder, _ = split_audformat(source)
    if not os.path.isdir(folder):
        return False
    if not os.path.isfile(os.path.join(folder, _HEADER)):
        raise InputError(
            f"{folder}: a folder without {_HEADER}, so no audformat database; name a "
            "table: a file of CSV or JSON Lines"
        )
    return True


def read_audformat(source: str) -> list[Row]:
    """Read a database: rows of ``file, start, end, emotion, speaker, split, gender``.

    Tables have labels if a column is called ``emotion``, or is the only one whose
    scheme is. If several have, those whose split is train, dev or test are put
    together, one for each split; otherwise the table called ``emotion`` is read.
    Speakers are those of the table's column ``speaker`` (by name or scheme), or else of
    one in a table of whole files; ``gender`` is what the speakers' scheme says.

    Raises
    ------
    InputError
        The library is not installed, the database cannot be read, or has no such
        tables, or several.
    """
    folder, wanted = split_audformat(source)
    try:
        import audformat  # noqa: PLC0415 (an extra)
    except ImportError:
        raise InputError(
            f"{folder}: an audformat database needs audformat, which is not installed: "
            "pip install 'sercorr[audformat]'"
        ) from None
    try:
        base = audformat.Database.load(folder)
        chosen = _choose(base, source, wanted)
        return _rows(base, folder, chosen)
    except InputError:
        raise
    except Exception as error:  # of a file that is missing or of another version
        raise InputError(
            f"{folder}: not readable as an audformat database ({error})"
        ) from None


def _choose(base: Any, source: str, wanted: list[str]) -> dict[str, str]:
    """Choose tables; return the column with the labels of each."""
    found = {name: _column(table, "emotion") for name, table in base.tables.items()}
    columns = {name: column for name, column in found.items() if column}
    listed = ", ".join(columns) or "none"
    if wanted:
        if other := [name for name in wanted if name not in columns]:
            raise InputError(
                f"{source}: no table {other[0]} with a column or scheme emotion; there "
                f"is: {listed}"
            )
        return {name: columns[name] for name in wanted}
    splits = {name: _split(base, name) for name in columns}
    official = [name for name, split in splits.items() if split]
    if len(columns) == 1:
        chosen = list(columns)
    elif official and len({splits[name] for name in official}) == len(official):
        chosen = official
    elif "emotion" in columns:
        chosen = ["emotion"]
    else:
        raise InputError(
            f"{source}: tables with a column or scheme emotion: {listed}; there must "
            "be one, or one for each split; choose with FOLDER#TABLE or "
            "FOLDER#TABLE,TABLE"
        )
    return {name: columns[name] for name in chosen}


def _column(table: Any, kind: str) -> str | None:
    """Find the column with this name, or else the only one with this scheme."""
    if kind in table.columns:
        return kind
    found = [name for name, col in table.columns.items() if col.scheme_id == kind]
    return found[0] if len(found) == 1 else None


def _split(base: Any, name: str) -> str | None:
    split = base.splits.get(base.tables[name].split_id)
    return split.type if split is not None and split.type in _SPLITS else None


def _rows(base: Any, folder: str, chosen: dict[str, str]) -> list[Row]:
    own = {name: _column(base.tables[name], "speaker") for name in chosen}
    speaker_of = {} if all(own.values()) else _speakers(base, folder)
    has_splits = any(_split(base, name) for name in chosen)
    gender_of = _genders(base)
    rows = []
    for name, column in chosen.items():
        table = base[name]
        files, starts, ends = _index(table)
        labels = _texts(table, column)
        if speaker_column := own[name]:
            speakers = _texts(table, speaker_column)
        else:
            speakers = [speaker_of.get(file, "") for file in files]
        split = {"split": _split(base, name) or ""} if has_splits else {}
        for number, (file, start, end, label, speaker) in enumerate(
            zip(files, starts, ends, labels, speakers, strict=True), start=1
        ):
            cells = {"file": file, "start": start, "end": end}
            cells |= {"emotion": label, "speaker": speaker, **split}
            if gender_of:
                cells["gender"] = gender_of.get(speaker, "")
            rows.append(Row(cells, f"{number} of table {name}"))
    if not rows:
        raise InputError(f"{folder}: no rows in {', '.join(chosen)}")
    return rows


def _speakers(base: Any, folder: str) -> dict[str, str]:
    """Return file -> speaker from all tables of whole files that say it."""
    found: dict[str, str] = {}
    tables = {
        name: column
        for name, table in base.tables.items()
        if table.is_filewise and (column := _column(table, "speaker"))
    }
    if not tables:
        raise InputError(
            f"{folder}: no table of the labels, and none of whole files, has a column "
            "or scheme speaker; write a CSV with the columns file,emotion,speaker "
            "instead, with unknown where nobody knows who speaks"
        )
    for name, column in tables.items():
        table = base[name]
        for file, speaker in zip(_index(table)[0], _texts(table, column), strict=True):
            if speaker and found.setdefault(file, speaker) != speaker:
                raise InputError(
                    f"{folder}: {file} has the speaker {found[file]}, and {speaker} in "
                    f"table {name}; mend one of them"
                )
    return found


def _genders(base: Any) -> dict[str, str]:
    """Return speaker -> gender, as far as schemes of speakers say it."""
    found: dict[str, str] = {}
    for name in base.tables:
        if column := _column(base.tables[name], "speaker"):
            table = base[name]
            try:
                genders = table[column].get(map="gender")
            except ValueError:  # no scheme, or one that says nothing of genders
                continue
            words = zip(_texts(table, column), genders, genders.isna(), strict=True)
            found |= {who: str(word) for who, word, missing in words if not missing}
    return found


def _index(table: Any) -> tuple[list[str], list[str], list[str]]:
    """Return files, starts and ends; the last two in seconds, empty where missing."""
    index = table.index
    files = [Path(file).as_posix() for file in index.get_level_values("file")]
    if table.is_filewise:
        empty = [""] * len(files)
        return files, empty, empty
    starts, ends = (
        [str(time) for time in index.get_level_values(level).total_seconds()]
        for level in ("start", "end")
    )
    return files, starts, ends


def _texts(table: Any, column: str) -> list[str]:
    """Return a column as text, empty where a value is missing."""
    values = table[column].get()
    return [
        "" if missing else str(value).strip()
        for value, missing in zip(values, values.isna(), strict=True)
    ]
