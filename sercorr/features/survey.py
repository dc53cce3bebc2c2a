"""What lies in a folder of features, seen without the model that made it."""

import dataclasses
import re
import time
from collections.abc import Iterator
from pathlib import Path

from sercorr.features.entry import (
    EntryHeader,
    map_layers,
    read_header,
    require_checksum,
)
from sercorr.features.store import ENTRIES, SUFFIX
from sercorr.features.temporary import TEMPORARY, is_leftover

_ENTRY = re.compile(rf"([0-9a-f]{{64}}){re.escape(SUFFIX)}")
_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class CacheFile:
    """A file that was found in a folder of features.

    Arguments
    ---------
    path : pathlib.Path
        Where it is.
    header : EntryHeader or None
        What it says of itself, if it is an entry that looks whole.
    fault : str or None
        What is wrong with it otherwise.
    """

    path: Path
    header: EntryHeader | None
    fault: str | None

    def damage(self) -> str | None:
        """Read all bytes of an entry and say what is wrong with them."""
        try:
            require_checksum(self.header, map_layers(self.path))
        except ValueError as error:
            return str(error)
        return None


def survey(folder: Path) -> Iterator[CacheFile]:
    """Yield all files of a folder of features, but not what is being written.

    An entry belongs there if its header has the signature that the folder's name ends
    with, and the file has the name and the place that its audio's digest asks for.

    Arguments
    ---------
    folder : pathlib.Path
        ``<cache_folder>/<kind of model>-<digest>``.
    """
    for path in sorted(folder.glob(".*")):  # written beside about.json
        if path.is_file() and path.stat().st_mtime < time.time() - _HOUR:
            yield CacheFile(path, None, "left over by a process that was stopped")
    for path in sorted((folder / ENTRIES).rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.name.endswith(TEMPORARY):
            if is_leftover(path):
                yield CacheFile(path, None, "left over by a process that was stopped")
            continue
        yield _inspect(folder, path)


def _inspect(folder: Path, path: Path) -> CacheFile:
    match = _ENTRY.fullmatch(path.name)
    if match is None or path.parent != folder / ENTRIES / match[1][:2]:
        return CacheFile(path, None, "foreign: no entry has this name and place")
    try:
        header = read_header(path)
    except (ValueError, OSError) as error:
        return CacheFile(path, None, str(error))
    if header.audio != match[1]:
        return CacheFile(path, None, f"foreign: of the audio {header.audio}")
    if not folder.name.endswith(f"-{header.signature}"):
        return CacheFile(path, None, f"foreign: of the signature {header.signature}")
    return CacheFile(path, header, None)
