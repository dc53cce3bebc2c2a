"""Timelines as text: CSV, JSON, Praat's TextGrid, ELAN's eaf, Audacity's labels.

Praat's and ELAN's are written by praatio and pympi, the extra ``timelines``.
"""

import importlib
import json
import mimetypes
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sercorr.errors import InputError
from sercorr.inference.rows import CsvRows
from sercorr.inference.timeline import Cell, merge_cells

SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".textgrid": "textgrid",
    ".eaf": "eaf",
    ".txt": "audacity",
}
"""What a file is written as, by its suffix in lower case."""


@dataclass(frozen=True)
class Timeline:
    """Which emotion is heard when in a file, and what found it; all in seconds."""

    file: str
    model: str
    labels: list[str]
    window: float
    hop: float
    duration: float
    cells: list[Cell]

    @property
    def segments(self) -> list[Cell]:
        """The cells, neighbours of one label joined."""
        return list(merge_cells(self.cells))


def choose_timeline_format(given: str | None, outfile: str | None) -> str:
    """Choose a format by the options of a command, and see that it can be written.

    Raises
    ------
    InputError
        The name of the outfile does not say it, or a library is not installed.

    Example
    -------
    >>> choose_timeline_format(None, "a.TextGrid"), choose_timeline_format(None, None)
    ('textgrid', 'csv')
    """
    suffix = ".csv" if outfile is None else Path(outfile).suffix.lower()
    if given is None and suffix not in SUFFIXES:
        raise InputError(
            f"{outfile}: its name does not say what to write; end it with .csv, .json, "
            ".TextGrid, .eaf or .txt (Audacity), or give --format"
        )
    form = given or SUFFIXES[suffix]
    if form in _LIBRARIES:
        _import(form)
    return form


def timeline_text(
    timeline: Timeline, form: str, folder: str | os.PathLike = "."
) -> str:
    """Write a timeline as text.

    Arguments
    ---------
    timeline : Timeline
        What to write.
    form : str
        ``csv``: a row for each cell, as of ``sercorr predict``; ``json``; ``textgrid``:
        long format, with the tiers ``emotion``, ``probability`` and ``merged``;
        ``eaf``: the same tiers, and a link to the file; ``audacity``: merged labels.
    folder : path
        Where the text will lie: ELAN finds the audio from there.

    Returns
    -------
    str
        Unix line ends. Silence has an empty label, and is left out where tiers need
        not be full (eaf, audacity).

    Raises
    ------
    InputError
        A library is not installed.

    Example
    -------
    >>> cells = [Cell(0.0, 1.0, "sad", {"sad": 1.0}), Cell(1.0, 1.5, None, None)]
    >>> timeline = Timeline("a.wav", "m", ["sad"], 1.0, 1.0, 1.5, cells)
    >>> print(timeline_text(timeline, "csv"), end="")
    file,start,end,emotion,sad
    a.wav,0.0,1.0,sad,1.000000
    a.wav,1.0,1.5,,
    """
    return _eaf(timeline, folder) if form == "eaf" else _WRITERS[form](timeline)


def _csv(timeline: Timeline) -> str:
    rows = CsvRows(timeline.labels)
    cells = (rows.row(cell, timeline.file) for cell in timeline.cells)
    return rows.header() + "".join(cells)


def _json(timeline: Timeline) -> str:
    described = {
        "file": timeline.file,
        "model": timeline.model,
        "labels": timeline.labels,
        "window": timeline.window,
        "hop": timeline.hop,
        "duration": round(timeline.duration, 6),
        "cells": [_plain(cell) for cell in timeline.cells],
        "segments": [_plain(cell) for cell in timeline.segments],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _plain(cell: Cell) -> dict[str, Any]:
    scores = cell.scores
    return {
        "start": round(cell.start, 6),
        "end": round(cell.end, 6),
        "emotion": cell.label,
        "scores": scores and {label: round(p, 6) for label, p in scores.items()},
    }


def _audacity(timeline: Timeline) -> str:
    return "".join(
        f"{cell.start:.6f}\t{cell.end:.6f}\t{cell.label}\n"
        for cell in timeline.segments
        if cell.label is not None
    )


def _textgrid(timeline: Timeline) -> str:
    textgrid = _import("textgrid")
    grid = textgrid.Textgrid(0, timeline.duration)
    for name, cells in _tiers(timeline).items():
        tier = textgrid.IntervalTier(name, cells, 0, timeline.duration)
        grid.addTier(tier)

    def save(path: str) -> None:
        grid.save(path, "long_textgrid", includeBlankSpaces=True)

    return _written(save)


def _eaf(timeline: Timeline, folder: str | os.PathLike) -> str:
    document = _import("eaf").Eaf(author="sercorr")
    file = Path(timeline.file).absolute()
    relative = Path(os.path.relpath(file, Path(folder).absolute())).as_posix()
    kind = mimetypes.guess_type(file.name)[0] or "unknown"
    document.add_linked_file(
        f"file://{file.as_posix()}",
        relative if relative.startswith("..") else f"./{relative}",
        kind if kind != "audio/wav" else "audio/x-wav",  # as ELAN calls it
    )
    for name, cells in _tiers(timeline).items():
        document.add_tier(name)
        for start, end, label in cells:
            if label:
                document.add_annotation(
                    name, round(start * 1000), round(end * 1000), label
                )
    document.remove_tier("default")
    return _written(document.to_file)


def _tiers(timeline: Timeline) -> dict[str, list[tuple[float, float, str]]]:
    """Intervals (start, end, text) by the names of their tiers."""
    cells = timeline.cells
    shown = [f"{max(c.scores.values()):.3f}" if c.scores else "" for c in cells]
    return {
        "emotion": [(c.start, c.end, c.label or "") for c in cells],
        "probability": [
            (c.start, c.end, text) for c, text in zip(cells, shown, strict=True)
        ],
        "merged": [(c.start, c.end, c.label or "") for c in timeline.segments],
    }


def _written(save: Callable[[str], None]) -> str:
    """Return what a library writes into a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timeline"
        save(str(path))
        return path.read_text(encoding="utf-8")


_WRITERS: dict[str, Callable[[Timeline], str]] = {
    "csv": _csv,
    "json": _json,
    "textgrid": _textgrid,
    "audacity": _audacity,
}
_LIBRARIES = {"textgrid": "praatio.textgrid", "eaf": "pympi"}


def _import(form: str) -> Any:
    try:
        return importlib.import_module(_LIBRARIES[form])
    except ImportError:
        raise InputError(
            f"the format {form} needs {_LIBRARIES[form].partition('.')[0]}, which is "
            "not installed: pip install 'sercorr[timelines]'"
        ) from None
