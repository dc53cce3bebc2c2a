"""Temporary files that tell whether the process that writes them still lives."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"

_MOMENT = 10.0  # seconds


def is_leftover(path: Path) -> bool:
    """Whether a file is a temporary one whose process is gone.

    One that is younger than ten seconds may be about to be locked.
    """
    if not path.name.endswith(TEMPORARY):
        return False
    try:
        with open(path, "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < _MOMENT:
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # locked by a living process, or gone meanwhile
        return False


@contextlib.contextmanager
def locked_temporary(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside ``path``, locked until it is closed; remove what is left."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.stem}.", suffix=TEMPORARY, delete=False
    ) as file:
        try:
            # Some network file systems have no locks; the file is used all the same.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
        except BaseException:
            with contextlib.suppress(OSError):  # what it still holds is not wanted
                file.close()
            raise
        finally:
            Path(file.name).unlink(missing_ok=True)
