"""Digests of clips: what names their entries in a store.

Hashing reads all audio, which of a large corpus takes minutes in every process of every
run. An extraction therefore leaves a record of digests in the ``cache_folder``, which
holds for files that have not been touched since.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from sercorr.data.audio import Part
from sercorr.errors import InputError
from sercorr.files import file_digest, json_digest, read_json, write_text

RECORD = "audio_digests.json"
"""Name of the record: absolute path -> size, inode, time of last change, digest."""

_MOMENT = 100_000_000  # nanoseconds; file systems' clocks tick at least every 10 ms
_WORKERS = min(8, os.cpu_count() or 1)


def as_parts(clips: Mapping[str, str | os.PathLike | Part]) -> dict[str, Part]:
    """Let every clip be a part, by id: a path stands for the whole file."""
    return {
        identity: clip if isinstance(clip, Part) else Part(clip)
        for identity, clip in clips.items()
    }


def hash_clips(
    clips: Mapping[str, str | os.PathLike | Part],
    progress: bool = True,
    record: str | os.PathLike | None = None,
) -> dict[str, str]:
    """Hash clips: id -> digest, in the same order; see `clip_digest`.

    ``record`` names a file of `write_record`; a file that is the same as there is not
    read.
    """
    parts = as_parts(clips)
    files = list(dict.fromkeys(os.fspath(part.file) for part in parts.values()))
    known = _read_record(record)
    with ThreadPoolExecutor(_WORKERS) as pool:
        bar = tqdm(
            pool.map(lambda file: _from(known, file) or _digest(file), files),
            "hashing audio",
            len(files),
            unit="file",
            disable=not progress,
        )
        of_file = dict(zip(files, bar, strict=True))
    return {
        identity: _digest_of_part(part, of_file[os.fspath(part.file)])
        for identity, part in parts.items()
    }


def write_record(
    record: str | os.PathLike, clips: Mapping[str, str | os.PathLike | Part]
) -> None:
    """Put the digests of the clips' files on record, beside those that are there.

    They are those that this process has found before. Files that were changed in the
    last tick of the file system's clock are left out.
    """
    known = _read_record(record)
    for file in dict.fromkeys(
        os.fspath(part.file) for part in as_parts(clips).values()
    ):
        if _from(known, file) is None and (stamp := _stamp(file)) is not None:
            known[os.path.abspath(file)] = [*stamp[1:], _remembered(file, stamp)]
    write_text(record, json.dumps(known, sort_keys=True, indent=0))


def audio_digest(
    clips: Mapping[str, str | os.PathLike | Part],
    record: str | os.PathLike | None = None,
) -> str:
    """Hash the audio of a corpus: what runs on it are signed by, wherever it lies.

    ``clips`` and ``record`` are those of `hash_clips`.
    """
    return json_digest(hash_clips(clips, record=record))


def clip_digest(part: Part) -> str:
    """Return the SHA-256 of a file's bytes; for a part, one of that and its place.

    A file that is not touched is read once per process.
    """
    return _digest_of_part(part, _digest(os.fspath(part.file)))


def _digest_of_part(part: Part, digest: str) -> str:
    """Name a part by its file's digest and its place in it; a whole file by the first.

    Example
    -------
    >>> _digest_of_part(Part("a.wav"), "12")
    '12'
    >>> _digest_of_part(Part("a.wav", 1), "12")[:8]
    '35b6d352'
    """
    if part.start == 0 and part.end is None:
        return digest
    end = None if part.end is None else float(part.end)
    return hashlib.sha256(f"{digest} {float(part.start)} {end}".encode()).hexdigest()


def _digest(path: str) -> str:
    """Hash a file, or remember its hash while the file has not been touched."""
    stamp = _stamp(path)
    return file_digest(path) if stamp is None else _remembered(path, stamp)


@functools.lru_cache(maxsize=1 << 18)
def _remembered(path: str, _stamp: tuple[int, ...]) -> str:
    return file_digest(path)


def _stamp(path: str) -> tuple[int, ...] | None:
    """Tell a file from what it was: device, size, inode and time of the last change.

    That time (``ctime``) cannot be set back. Changes within one tick of the file
    system's clock look the same, so that young files have no stamp.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None  # who reads it says what is wrong
    if time.time_ns() - found.st_ctime_ns < _MOMENT:
        return None
    return found.st_dev, found.st_size, found.st_ino, found.st_ctime_ns


def _read_record(record: str | os.PathLike | None) -> dict[str, list[Any]]:
    """Read a record; one that is missing or damaged is empty."""
    try:
        known = read_json(record) if record is not None else {}
    except (InputError, OSError):
        known = {}
    return known if isinstance(known, dict) else {}


def _from(known: Mapping[str, list[Any]], path: str) -> str | None:
    """Look a file up; None if it is not the one that was recorded.

    Machines of a cluster number one disk in different ways: the device is left out.
    """
    found, stamp = known.get(os.path.abspath(path)), _stamp(path)
    if stamp is None or not isinstance(found, list) or found[:-1] != list(stamp[1:]):
        return None
    return found[-1]
