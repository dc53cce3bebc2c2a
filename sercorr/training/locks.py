"""Folders that one process at a time works in, and which one that is."""

import contextlib
import datetime
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from sercorr.errors import InputError
from sercorr.files import read_json, write_json

LOCK = ".lock"
"""Name of the lock, which stays when it is released."""


@contextlib.contextmanager
def hold(
    place: Path, holder: str, folder: str | os.PathLike, known: str, unknown: str
) -> Iterator[None]:
    """Hold a lock, and say in a file beside it who holds it.

    Arguments
    ---------
    place : pathlib.Path
        Where the lock is; must be there.
    holder : str
        Name of the file beside it: ``pid``, ``host``, ``since``.
    folder : path
        What is held, for the message.
    known, unknown : str
        How another holder is described: by what that file says of it, as in
        ``"process {pid} on {host}"``, and where it cannot be read.

    Raises
    ------
    InputError
        Another process holds it.
    """
    lock = filelock.FileLock(place / LOCK, blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"{folder}: {_describe(place / holder, known, unknown)} is at work there; "
            "wait for it, or choose another --output_folder"
        ) from None
    try:
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": timestamp()}
        write_json(place / holder, about)
        yield
    finally:
        (place / holder).unlink(missing_ok=True)
        lock.release()


def is_held(place: Path) -> bool:
    """Whether a process holds the lock at a place."""
    if not (place / LOCK).exists():
        return False
    try:
        with filelock.FileLock(place / LOCK, blocking=False):
            return False
    except filelock.Timeout:
        return True


def timestamp() -> str:
    """Give the time, to the second, with its zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _describe(path: Path, known: str, unknown: str) -> str:
    try:
        return known.format_map(read_json(path))
    except (InputError, KeyError, TypeError):
        return unknown
