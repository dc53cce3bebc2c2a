"""Files that are either whole or absent, and digests of what is in them."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sercorr.errors import InputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` on success.

    The temporary file keeps the suffix of ``path`` (plotting libraries choose their
    format by it). If the block raises, it is removed and ``path`` is untouched.

    Arguments
    ---------
    path : path
        Where the finished file shall be; its folder is made if missing.

    Returns
    -------
    pathlib.Path
        As a context manager: the path to write to.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> sorted(p.name for p in folder.iterdir())
    ['a.txt']
    """
    path = Path(path)
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        try:
            yield temporary
        except OSError as error:  # of a full disk, for one, which names no file
            if error.errno is not None and error.filename is None:
                error.filename = os.fspath(path)
            raise
        os.chmod(temporary, 0o666 & ~_umask())
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder beside ``folder``; rename it to ``folder`` on success.

    If the block raises, it is removed. Raises `InputError`, before anything is
    written, where something is already (see `require_new_folder`).

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "new"
    >>> with atomic_folder(folder) as temporary:
    ...     write_text(temporary / "a.txt", "whole")
    >>> sorted(p.name for p in folder.parent.rglob("*"))
    ['a.txt', 'new']
    """
    folder = Path(folder).resolve()
    require_new_folder(folder)
    parent = require_writable(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=parent))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new_folder(folder: str | os.PathLike) -> None:
    """Raise `InputError` unless ``folder`` is missing or an empty folder."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: something is there already; remove it, or choose another folder"
        )


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends, whole or not at all.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "deep" / "note.txt"
    >>> write_text(path, "hello")
    >>> path.read_text()
    'hello'
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, whole or not at all.

    NaN and infinity are refused (`ValueError`): they are not JSON.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(path, {"wa": 65.6})
    >>> read_json(path)
    {'wa': 65.6}
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; a missing or broken one is an `InputError` that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); remove it") from None


def make_folder(folder: str | os.PathLike) -> Path:
    """Make ``folder`` and its parents; an `InputError` says why it cannot be."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: the folder cannot be made ({error.strerror}); "
            "choose another place or change its permissions"
        ) from None
    return folder


def require_writable(folder: str | os.PathLike) -> Path:
    """Make ``folder`` and prove that a file can be written in it.

    Raises `InputError` before long work starts rather than after.

    Example
    -------
    >>> import tempfile
    >>> require_writable(tempfile.mkdtemp()).is_dir()
    True
    """
    folder = make_folder(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable."):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: nothing can be written there ({error.strerror}); "
            "choose another folder or change its permissions"
        ) from None
    return folder


def json_digest(value: Any) -> str:
    """Short SHA-256 of a JSON-able value, the same for the same content.

    Example
    -------
    >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
