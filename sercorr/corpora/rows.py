"""Rows of tables that people and programs write: CSV in any dialect, or JSON Lines.

Values are text here; `read_number`, `read_seconds` and `read_part` make sense of them.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sercorr.errors import InputError

JSON_LINES = (".jsonl", ".ndjson")
"""Suffixes of files with one JSON object a line; all others are read as CSV."""

_EMPTY = frozenset(("", "nan", "nat", "<na>"))
_DELIMITERS = ",;\t"
_TIMEDELTA = re.compile(r"(?:(\d+) days? )?(\d+):([0-5]\d):([0-5]\d(?:\.\d+)?)")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")


class Row(dict[str, str]):
    """Column -> cell, without blanks around it.

    ``line`` says where it begins, for messages: its number, as a rule.
    """

    __slots__ = ("line",)

    def __init__(self, cells: Mapping[str, str], line: int | str) -> None:
        super().__init__(cells)
        self.line = line

    def text(self, column: str) -> str:
        """Return a cell: "" for a column that is missing, and for NaN, NaT and <NA>."""
        cell = self.get(column, "")
        return "" if cell.lower() in _EMPTY else cell


def read_rows(path: str | os.PathLike, known: Collection[str] = ()) -> list[Row]:
    r"""Read all rows of a table.

    Arguments
    ---------
    path : path
        CSV whose first line names the columns, separated by commas, semicolons or tabs
        (as that line has it); or, if it ends with .jsonl or .ndjson, JSON Lines, where
        null is an empty cell. UTF-8, UTF-16 with a byte order mark, or else Windows'
        Latin-1. Empty lines are left out.
    known : collection of str
        Names of columns that are found however they are capitalised.

    Returns
    -------
    list of Row
        Not empty. All have the same columns, in the table's order; a cell that is
        missing is "".

    Raises
    ------
    InputError
        The file cannot be read, is not text, breaks the rules of its format, has no
        rows, or two columns of one name.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "calls.csv"
    >>> _ = path.write_text("File; start\na.wav; 1.5\n\nb, c.wav;\n")
    >>> rows = read_rows(path, known=["file"])
    >>> rows
    [{'file': 'a.wav', 'start': '1.5'}, {'file': 'b, c.wav', 'start': ''}]
    >>> [row.line for row in rows]
    [2, 4]
    """
    text = _read_text(path)
    is_json = Path(path).suffix.lower() in JSON_LINES
    rows = list((_json_rows if is_json else _csv_rows)(text, os.fspath(path), known))
    if not rows:
        what = "no objects in it" if is_json else "no rows below the names of columns"
        raise InputError(f"{path}: {what}; write one line for each clip")
    return rows


def prefixed_columns(
    source: str, columns: Iterable[str], prefix: str, what: str
) -> dict[str, str]:
    """Find the columns whose names begin with a prefix: the rest of the name -> column.

    The prefix is found however it is capitalised; ``source`` and ``what`` (before the
    rest of the name) are for the message where two columns have one name.

    Example
    -------
    >>> prefixed_columns("a.csv", ["file", "votes_hap", "Votes_sad"], "votes_", "of")
    {'hap': 'votes_hap', 'sad': 'Votes_sad'}
    """
    found: dict[str, str] = {}
    for column in columns:
        name = column[len(prefix) :].strip()
        if name and column[: len(prefix)].lower() == prefix:
            if name in found:
                raise InputError(
                    f"{source}: {found[name]} and {column} are both {what} {name}; "
                    "rename or remove one"
                )
            found[name] = column
    return found


def read_number(text: str) -> float:
    """Read a finite number; a ValueError says what is wrong with it.

    Example
    -------
    >>> read_number("0,5")
    Traceback (most recent call last):
    ...
    ValueError: '0,5', with a comma; write decimals with a point: 0.5
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    if _DECIMAL_COMMA.fullmatch(text):
        point = text.replace(",", ".")
        raise ValueError(
            f"{text!r}, with a comma; write decimals with a point: {point}"
        )
    raise ValueError(f"{text!r}; give a number, such as 1.5")


def read_seconds(text: str) -> float:
    """Read a time: seconds, or as pandas and audformat write it; errors as above.

    Example
    -------
    >>> read_seconds("1.5"), read_seconds("0 days 00:01:01.5"), read_seconds("00:01:00")
    (1.5, 61.5, 60.0)
    """
    if ":" in text and (parts := _TIMEDELTA.fullmatch(text)):
        days, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    try:
        return read_number(text)
    except ValueError as error:
        raise ValueError(str(error).replace("a number", "seconds")) from None


def read_part(row: Row) -> tuple[float, float | None]:
    """Read ``start`` and ``end``, in seconds; None for the file's end.

    Example
    -------
    >>> read_part(Row({"start": "2", "end": "2"}, line=3))
    Traceback (most recent call last):
    ...
    ValueError: start is 2 and end 2; it must be 0 <= start < end
    """
    found: dict[str, float] = {}
    for column in ("start", "end"):
        if cell := row.text(column):
            try:
                found[column] = read_seconds(cell)
            except ValueError as error:
                raise ValueError(f"{column} is {error}") from None
    start, end = found.get("start", 0.0), found.get("end")
    if start < 0 or (end is not None and end <= start):
        given = (row.text(column) or "empty" for column in ("start", "end"))
        raise ValueError(
            "start is {} and end {}; it must be 0 <= start < end".format(*given)
        )
    return start, end


def _read_text(path: str | os.PathLike) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    encodings = ["utf-8-sig", "cp1252", "latin-1"]  # the last one reads every byte
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
        break
    raise InputError(f"{path}: not text; save it as CSV in UTF-8")


def _csv_rows(text: str, path: str, known: Collection[str]) -> Iterator[Row]:
    delimiter = max(_DELIMITERS, key=lambda mark: len(_header(text, mark)))
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,
    )
    columns: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            # the reader may have swallowed many lines after a quote that never ends
            raise InputError(f"{path}, line {line}: not valid CSV ({error})") from None
        if not any(cells):
            continue
        if columns is None:
            while cells[-1] == "":  # separators at the end of every line
                cells.pop()
            columns = _columns(cells, path, known)
        elif any(cells[len(columns) :]):
            raise InputError(
                f"{path}, line {line}: too many fields ({len(cells)}, there are "
                f"{len(columns)} columns); put quotes around text with {delimiter!r}"
            )
        else:
            cells += [""] * (len(columns) - len(cells))
            yield Row(dict(zip(columns, cells, strict=False)), line)


def _header(text: str, delimiter: str) -> list[str]:
    """Return the first line that is not empty, parsed; a broken one is found later."""
    lines = (line for line in io.StringIO(text, newline="") if line.strip())
    row = csv.reader([next(lines, "")], delimiter=delimiter, skipinitialspace=True)
    return next(row, [])


def _columns(cells: list[str], path: str, known: Collection[str]) -> list[str]:
    canonical = {name.lower(): name for name in known}
    columns = [canonical.get(cell.lower(), cell) for cell in cells]
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise InputError(
            f"{path}: two columns named {twice[0] or 'nothing'}; rename or remove one"
        )
    return columns


def _json_rows(text: str, path: str, known: Collection[str]) -> Iterator[Row]:
    found: list[tuple[int, dict[str, Any]]] = []
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                value = json.loads(content)
            except ValueError as error:
                raise InputError(f"{path}, line {line}: not JSON ({error})") from None
            if not isinstance(value, dict) or not value:
                raise InputError(
                    f"{path}, line {line}: {content.strip()[:60]!r} is no JSON object "
                    "with columns and values"
                )
            found.append((line, value))
    keys = list(dict.fromkeys(key for _, value in found for key in value))
    names = _columns([key.strip() for key in keys], path, known)
    for line, value in found:
        cells = {
            name: _cell(value.get(key)) for name, key in zip(names, keys, strict=True)
        }
        yield Row(cells, line)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return "" if value is None else json.dumps(value)
