"""From what a person names on the command line to the clips that are classified."""

import csv
import glob
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sercorr.errors import InputError
from sercorr.inference.prediction import Segment

AUDIO = frozenset(
    ".aif .aifc .aiff .au .caf .flac .mp3 .nist .oga .ogg .opus .rf64 .snd .sph .voc "
    ".w64 .wav .wave".split()
)
"""Suffixes of the files that are taken from a folder: what libsndfile reads."""

_TIMEDELTA = re.compile(r"(?:(\d+) days? )?(\d+):([0-5]\d):([0-5]\d(?:\.\d+)?)")


def find_inputs(
    paths: Sequence[str], list_file: str | os.PathLike | None = None
) -> list[Segment]:
    """Find the clips that a command line means, each once.

    Arguments
    ---------
    paths : sequence of str
        Files, which need not exist; folders, of which all audio files (by their
        suffix) at any depth are taken but hidden ones; or patterns such as
        ``calls/**/*.wav``, whose matches count as the contents of folders.
    list_file : path or None
        See `read_list`.

    Returns
    -------
    list of Segment
        In the order of ``paths``, then of the list; those of a folder or pattern are
        sorted, numbers in names by their value. Files are named as they were given.

    Raises
    ------
    InputError
        A folder or pattern gives nothing, or the list is unusable.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b10.wav", "b9.wav", "a.txt", "._b9.wav"):
    ...     (folder / name).touch()
    >>> [Path(clip.file).name for clip in find_inputs([str(folder), "c.wav"])]
    ['b9.wav', 'b10.wav', 'c.wav']
    """
    if not paths and list_file is None:
        raise InputError("nothing to classify: name files or folders, or give --list")
    clips = [Segment(file) for path in paths for file in _expand(path)]
    if list_file is not None:
        clips += read_list(list_file)
    found: dict[tuple, Segment] = {}
    for clip in clips:
        found.setdefault((os.path.abspath(clip.file), clip.start, clip.end), clip)
    return list(found.values())


def read_list(path: str | os.PathLike) -> list[Segment]:
    """Read a CSV file (UTF-8) of clips.

    Arguments
    ---------
    path : path
        It has a column ``file``; ``start`` and ``end``, if there, are seconds, or times
        as pandas and audformat write them (``0 days 00:00:01.5``). An empty ``start``
        is 0, an empty ``end`` the end of the file; other columns are ignored.

    Returns
    -------
    list of Segment
        Relative files are put behind the list's own folder.

    Raises
    ------
    InputError
        The list cannot be read, has no such column or no rows, or a line of it makes no
        sense.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "calls.csv"
    >>> _ = path.write_text("file,start,end\\n/data/a.wav,1.5,0 days 00:00:04\\n")
    >>> read_list(path)
    [Segment(file='/data/a.wav', start=1.5, end=4.0)]
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as CSV in UTF-8") from None
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    clips = []
    try:
        if "file" not in (columns := rows.fieldnames or []):
            raise InputError(
                f"{path}: its first line has no column named file, but "
                f"{', '.join(columns) or 'nothing'}; separate columns by commas"
            )
        for row in rows:
            try:
                clips.append(_segment(row, os.path.dirname(path)))
            except ValueError as error:
                place = f"{path}, line {rows.line_num}"
                raise InputError(f"{place}: {error}") from None
    except csv.Error as error:
        raise InputError(
            f"{path}, line {rows.line_num}: not valid CSV ({error})"
        ) from None
    if not clips:
        raise InputError(f"{path}: no rows below the names of the columns")
    return clips


def _segment(row: dict[str, str], folder: str) -> Segment:
    """Read a line; a ValueError says what is wrong with it."""
    if not row["file"]:
        raise ValueError("file is empty; name an audio file")
    if None in row:
        raise ValueError("too many fields; put quotes around names with commas")
    start = _seconds(row, "start")
    end = _seconds(row, "end")
    start = 0.0 if start is None else start
    if start < 0 or (end is not None and end <= start):
        raise ValueError(
            f"start is {row.get('start')} and end {row.get('end')}; it must be "
            "0 <= start < end"
        )
    return Segment(os.path.join(folder, row["file"]), start, end)


def _seconds(row: dict[str, str], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if text.lower() in ("", "nan", "nat"):
        return None
    if parts := _TIMEDELTA.fullmatch(text):
        days, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} is {text!r}; give seconds, such as 1.5")
    return value


def _expand(path: str) -> Iterable[str]:
    """List the files that one word of the command line means."""
    if os.path.isdir(path):
        found = list(_walk(path))
        what = "no audio files below this folder"
    elif os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    else:
        found = []
        for match in glob.iglob(path, recursive=True):
            found += _walk(match) if os.path.isdir(match) else [match]
        # ** follows links, in circles, too: each file by its shortest name
        longest_first = sorted(filter(_is_audio, found), key=len, reverse=True)
        found = list({os.path.realpath(file): file for file in longest_first}.values())
        what = "neither a file nor a pattern that audio files match"
    if not found:
        known = ", ".join(sorted(suffix[1:] for suffix in AUDIO))
        raise InputError(
            f"{path}: {what}; those end with {known} (name others one by one)"
        )
    return sorted(found, key=_natural)


def _walk(folder: str) -> Iterator[str]:
    """Find audio files at any depth; links are followed, to each folder once."""

    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})")

    seen = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        yield from (os.path.join(place, name) for name in files if _is_audio(name))
        kept = []
        for name in sorted(folders, key=_natural):
            real = os.path.realpath(os.path.join(place, name))
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept


def _is_audio(file: str) -> bool:
    name = os.path.basename(file)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO


def _natural(path: str) -> tuple:
    """Sort by folders and names, numbers in them by their value.

    Example
    -------
    >>> sorted(["a10/b", "a9/c", "a/d"], key=_natural)
    ['a/d', 'a9/c', 'a10/b']
    """
    parts = [re.split(r"([0-9]+)", part) for part in Path(path).parts]
    key = [[int(p) if i % 2 else p for i, p in enumerate(part)] for part in parts]
    return (key, path)
