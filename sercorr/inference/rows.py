"""How predictions are written: lines of CSV, of JSON, and of a table to look at."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich.cells import cell_len, set_cell_size

from sercorr.errors import InputError
from sercorr.inference.prediction import Prediction
from sercorr.inference.timeline import Cell

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""What a file is written as, by its suffix."""


class Rows(Protocol):
    """Turns predictions into lines of text, each with its line end."""

    def header(self) -> str:
        """Return what stands above the rows."""

    def row(self, found: Prediction) -> str:
        """Return the row of a prediction."""


class CsvRows:
    """``file,start,end,emotion`` and one probability per label, as audformat reads it.

    Example
    -------
    >>> rows = CsvRows(["ang", "sad"])
    >>> found = Prediction("a, b.wav", 0, 2.5, "sad", {"ang": 0.25, "sad": 0.75}, None)
    >>> print(rows.header() + rows.row(found), end="")
    file,start,end,emotion,ang,sad
    "a, b.wav",0.0,2.5,sad,0.250000,0.750000
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def header(self) -> str:
        return _csv_line(["file", "start", "end", "emotion", *self._labels])

    def row(self, found: Prediction | Cell, file: str | None = None) -> str:
        """Return the row of a prediction, or of a timeline's cell in ``file``.

        Silence has neither an emotion nor probabilities.
        """
        if isinstance(found, Prediction):
            file = found.file
        scores = found.scores or {}
        numbers = (f"{scores[key]:.6f}" if scores else "" for key in self._labels)
        times = seconds(found.start), seconds(found.end)
        return _csv_line([file or "", *times, found.label or "", *numbers])


class JsonRows:
    """A JSON object a line; the attention, which is long, is left out.

    Example
    -------
    >>> found = Prediction("a.wav", 0, 2.5, "sad", {"ang": 0.25, "sad": 0.75}, None)
    >>> print(JsonRows().row(found), end="")
    {"file": "a.wav", "start": 0.0, "end": 2.5, "emotion": "sad", "scores": \
{"ang": 0.25, "sad": 0.75}, "silent": false}
    """

    def header(self) -> str:
        return ""

    def row(self, found: Prediction) -> str:
        record = {
            "file": found.file,
            "start": round(float(found.start), 6),
            "end": round(float(found.end), 6),
            "emotion": found.label,
            "scores": {label: round(p, 6) for label, p in found.scores.items()},
            "silent": found.silent,
        }
        return json.dumps(record, ensure_ascii=False) + "\n"


class TableRows:
    """Aligned columns, no wider than a terminal if that can be.

    Columns are as wide as the longest name, so that rows can be shown as they come.
    Long names lose their beginning; if that does not suffice, the probabilities but
    that of the label are left out.

    Arguments
    ---------
    labels : sequence of str
        As those of the model.
    files : sequence of str
        All names that will come.
    width : int or None
        Of the terminal, in columns; None: as wide as need be.

    Example
    -------
    >>> found = Prediction("a.wav", 0, 2.5, "sad", {"ang": 0.25, "sad": 0.75}, None)
    >>> table = TableRows(["ang", "sad"], ["a.wav"], None)
    >>> print(table.header() + table.row(found), end="")
    file      start       end  emotion    ang    sad
    a.wav      0.00      2.50  sad      0.250  0.750
    """

    def __init__(
        self, labels: Sequence[str], files: Sequence[str], width: int | None
    ) -> None:
        self._columns = list(labels)
        self._emotion = max(7, *map(cell_len, labels))
        self._file = max(4, *(cell_len(_printable(file)) for file in files))
        if width is not None:
            if self._others() + min(self._file, 16) > width:
                self._columns = [""]
            self._file = max(8, min(self._file, width - self._others()))

    def header(self) -> str:
        return self._line(
            "file",
            "start",
            "end",
            "emotion",
            [name or "prob." for name in self._columns],
        )

    def row(self, found: Prediction) -> str:
        return self._line(
            found.file or "",
            f"{found.start:.2f}",
            f"{found.end:.2f}",
            found.label,
            [f"{found.scores[name or found.label]:.3f}" for name in self._columns],
            " silent" if found.silent else "",
        )

    def _others(self) -> int:
        """Columns of the terminal that are not for the file's name."""
        return 2 * 10 + 2 + self._emotion + sum(map(self._width, self._columns))

    def _width(self, name: str) -> int:
        return 2 + max(5, cell_len(name))

    def _line(
        self,
        file: str,
        start: str,
        end: str,
        emotion: str,
        numbers: Sequence[str],
        remark: str = "",
    ) -> str:
        shown = file = _printable(file)
        while cell_len(shown) > self._file:
            file = file[1:]
            shown = f"…{file}"
        cells = [
            set_cell_size(shown, self._file),
            f"{start:>10}{end:>10}  ",
            set_cell_size(emotion, self._emotion),
            *(
                " " * (self._width(name) - cell_len(number)) + number
                for name, number in zip(self._columns, numbers, strict=True)
            ),
            remark,
        ]
        return "".join(cells).rstrip() + "\n"


def choose_format(given: str | None, outfile: str | None) -> str:
    """Choose ``table``, ``csv`` or ``jsonl`` by the options of a command.

    Raises
    ------
    InputError
        The name of the outfile does not say it, or a table shall go into a file.

    Example
    -------
    >>> choose_format(None, "found.csv"), choose_format(None, None)
    ('csv', 'table')
    """
    if outfile is None:
        return given or "table"
    if given == "table":
        raise InputError("a table is for the terminal; give --format csv or jsonl")
    suffix = Path(outfile).suffix.lower()
    if given is None and suffix not in FORMATS:
        raise InputError(
            f"{outfile}: its name does not say what to write; end it with .csv or "
            ".jsonl, or give --format csv or jsonl"
        )
    return given or FORMATS[suffix]


def seconds(value: float) -> str:
    """Write seconds as a plain number, to the microsecond.

    Example
    -------
    >>> seconds(0), seconds(1 / 3), seconds(1e-6), seconds(36000.25)
    ('0.0', '0.333333', '0.000001', '36000.25')
    """
    text = f"{value:.6f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)
