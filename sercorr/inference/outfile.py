"""A file of rows that is written as they come, and gone on with after a stop.

Beside ``results.csv`` lies ``.results.csv.sercorr``, one JSON a line: first what
decides the rows, then each finished input with the size that ``results.csv`` had by
then. What lies behind the last of these belongs to an input that was not finished, and
is cut off. ``.results.csv.lock`` keeps a second process from writing there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import filelock

from sercorr.errors import InputError
from sercorr.files import require_writable

_FORMAT = 1  # of the file beside; raised when it is laid out otherwise

Key = tuple[str | os.PathLike, float, float | None]
"""An input: file, start and end, as a `Segment` has them."""


class Outfile:
    """Opens a file of rows, or what is there of it; a context manager.

    Arguments
    ---------
    path : path
        Its folder is made if missing.
    settings : mapping
        All that decides the rows, as JSON can hold it, by the names that messages use.
    names : mapping
        Of some settings: how messages call this value.
    header : str
        The first line of a new file.
    restart : bool
        Begin anew, whatever the settings were.

    Attributes
    ----------
    finished : set
        Inputs whose rows are there, see `Key`.

    Raises
    ------
    InputError
        The file was not written by this class, or with other settings, or was changed
        since; another process is writing it; or nothing can be written there. No row
        has been touched then.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "results.csv"
    >>> with Outfile(path, {"window": None}, {}, "file,emotion\\n") as out:
    ...     out.write("a.wav,sad\\n")
    ...     out.finish(("a.wav", 0.0, None))
    ...     out.write("b.wav,a")  # and the power fails
    >>> with Outfile(path, {"window": None}, {}, "file,emotion\\n") as out:
    ...     print(out.finished)
    {('a.wav', 0.0, None)}
    >>> print(path.read_text(), end="")
    file,emotion
    a.wav,sad
    """

    def __init__(
        self,
        path: str | os.PathLike,
        settings: Mapping[str, Any],
        names: Mapping[str, str],
        header: str,
        restart: bool = False,
    ) -> None:
        self.path = Path(path)
        self._journal_path = self.path.with_name(f".{self.path.name}.sercorr")
        self._about: dict[str, Any] = {
            "format": _FORMAT,
            "settings": settings,
            "names": names,
        }
        self.finished: set[Key] = set()
        require_writable(self.path.parent)
        lock = self.path.with_name(f".{self.path.name}.lock")
        self._lock = filelock.FileLock(lock, blocking=False)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"{path}: another process is writing it; wait for it, or choose "
                "another --outfile"
            ) from None
        try:
            size, whole = self._read(restart)
            self._rows = _open(self.path, size)
            self._journal = _open(self._journal_path, whole)
        except BaseException:
            self._lock.release()
            raise
        self._end = size
        if whole == 0:
            self._note(self._about)
        if size == 0:
            self.write(header)
            self._end = self._rows.tell()

    def write(self, line: str) -> None:
        """Append a row, which is in the file when this returns."""
        self._rows.write(line.encode())
        self._rows.flush()

    def finish(self, key: Key) -> None:
        """Note that all rows of an input are written."""
        self._end = self._rows.tell()
        self._note([*key, self._end])
        self.finished.add(key)

    def discard(self) -> None:
        """Cut off the rows that were written since an input was finished."""
        self._rows.seek(self._end)
        self._rows.truncate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._journal.close()
        self._lock.release()

    def _note(self, value: Any) -> None:
        self._journal.write(json.dumps(value).encode() + b"\n")
        self._journal.flush()

    def _read(self, restart: bool) -> tuple[int, int]:
        """Return how many bytes of the file and of the journal are to be kept."""
        if self.path.exists() and not self.path.is_file():
            raise InputError(
                f"{self.path}: not a regular file; leave --outfile out to write to the "
                "terminal or a pipe"
            )
        size = self.path.stat().st_size if self.path.exists() else 0
        lines = _whole_lines(self._journal_path)
        if size and not lines:
            raise InputError(
                f"{self.path}: something is there that this command has not written; "
                "choose another --outfile, or remove it"
            )
        if restart or not size:
            return 0, 0
        self._require_settings(lines[0])
        end, whole = 0, len(lines[0])
        for line in lines[1:]:
            try:
                file, start, stop, after = json.loads(line)
            except ValueError:
                break
            if after > size:  # the rows were lost, or removed
                break
            self.finished.add((file, start, stop))
            end, whole = after, whole + len(line)
        if end:
            with open(self.path, "rb") as rows:
                rows.seek(end - 1)
                if rows.read(1) != b"\n":
                    raise InputError(
                        f"{self.path}: it was changed since it was written, and cannot "
                        "be gone on with; choose another --outfile, or give --restart "
                        "to replace it"
                    )
        return end, whole

    def _require_settings(self, line: bytes) -> None:
        try:
            about = json.loads(line)
            known = about["format"] == _FORMAT
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise InputError(
                f"{self._journal_path}: not readable, or of another version of "
                "sercorr; choose another --outfile, or give --restart to replace it"
            )
        before, now = about["settings"], self._about["settings"]
        differing = [key for key in now if before.get(key) != now[key]]
        if differing:
            shown = "; ".join(
                f"{key}: {_show(about, key)} then, {_show(self._about, key)} now"
                for key in differing
            )
            raise InputError(
                f"{self.path}: it was begun with other settings ({shown}); choose "
                "another --outfile, or give --restart to replace it"
            )


def _open(path: Path, size: int) -> BinaryIO:
    """Open a file at ``size``, and cut off what is behind."""
    try:
        file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
        file.truncate(size)
        file.seek(size)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another --outfile"
        ) from None
    return file


def _whole_lines(path: Path) -> Sequence[bytes]:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [line for line in lines if line.endswith(b"\n")]


def _show(about: Mapping[str, Any], key: str) -> str:
    value, name = about["settings"].get(key), about["names"].get(key)
    shown = "none" if value is None else str(value)
    return shown if name is None else f"{name} ({shown})"
