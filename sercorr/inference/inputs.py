"""From what a person names on the command line to the clips that are classified."""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sercorr.corpora.folders import SUFFIXES, find_audio, is_audio
from sercorr.corpora.rows import read_part, read_rows
from sercorr.errors import InputError
from sercorr.inference.prediction import Segment


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
    """Read a table of clips: CSV or JSON Lines, see `sercorr.corpora.rows.read_rows`.

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
    clips = []
    rows = read_rows(path, known=("file", "start", "end"))
    if "file" not in rows[0]:
        raise InputError(f"{path}: no column named file, but {', '.join(rows[0])}")
    for row in rows:
        try:
            if not row["file"]:
                raise ValueError("file is empty; name an audio file")
            start, end = read_part(row)
        except ValueError as error:
            raise InputError(f"{path}, line {row.line}: {error}") from None
        file = os.path.join(os.path.dirname(path), row["file"])
        clips.append(Segment(file, start, end))
    return clips


def _expand(path: str) -> Iterable[str]:
    """List the files that one word of the command line means."""
    if os.path.isdir(path):
        found = list(find_audio(path))
        what = "no audio files below this folder"
    elif os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    else:
        found = []
        for match in glob.iglob(path, recursive=True):
            found += find_audio(match) if os.path.isdir(match) else [match]
        # ** follows links, in circles, too: each file by its shortest name
        longest_first = sorted(filter(is_audio, found), key=len, reverse=True)
        found = list({os.path.realpath(file): file for file in longest_first}.values())
        what = "neither a file nor a pattern that audio files match"
    if not found:
        known = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise InputError(
            f"{path}: {what}; those end with {known} (name others one by one)"
        )
    return sorted(found, key=_natural)


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
