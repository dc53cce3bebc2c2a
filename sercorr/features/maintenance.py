"""Looking after a feature store: what is in it, is it whole, and what can go."""

import contextlib
import math
import re
import shutil
import stat
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.features.entry import (
    ABOUT,
    ENTRIES,
    BadEntryError,
    MissingEntryError,
    open_entry,
    read_about,
)

_HOUR, _DAY = 3600.0, 86400.0
_WIDTH = 160  # of tables that go to a file
_MODEL = "{model_type}, {num_layers} x {output_size}, weights {digest:.8}"
_FOLDER = re.compile(r"[a-z0-9_]+-[0-9a-f]{16}")


def show_info(folder: str | Path) -> None:
    """Print a table of the features in a store's folder.

    `InputError` if it holds none, here and below.
    """
    table = Table("folder", "model", "layers", "dtype", box=None)
    for column in ("entries", "hours", "size"):
        table.add_column(column, justify="right")
    for place in _places(folder):
        found = [_inspect(path, place)[0] for path in _files(place)]
        samples = [count for count in found if count is not None]
        model = layers = dtype = "unknown"
        try:
            about = read_about(place)
            model, dtype = _MODEL.format_map(about["upstream"]), about["dtype"]
            layers = about["layers"]  # "all" or numbers
            layers = layers if layers == "all" else ",".join(map(str, layers))
        except InputError as error:
            print(error, file=sys.stderr)
        hours = f"{sum(samples) / SAMPLE_RATE / 3600:.2f}"
        size = decimal(_bytes_below(place))
        table.add_row(place.name, model, layers, dtype, str(len(samples)), hours, size)
        if len(samples) < len(found):
            print(
                f"{place}: {len(found) - len(samples)} files are no entries; see: "
                f"sercorr cache verify {folder}",
                file=sys.stderr,
            )
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)
    print(f"{decimal(shutil.disk_usage(folder).free)} free in {folder}")


def verify_cache(folder: str | Path, remove: bool = False) -> int:
    """Compare every byte of stored features with the checksums; name what is bad.

    Arguments
    ---------
    folder : path
        The ``cache_folder``.
    remove : bool
        Delete bad files; the next extraction makes the entries again.

    Returns
    -------
    int
        1 if something bad was found, else 0.
    """
    checked = bad = 0
    for place in _places(folder):
        try:
            read_about(place)
        except InputError as error:
            bad += 1
            print(error)
        with tqdm(_files(place), place.name, unit="file") as bar:
            for path in bar:
                checked += 1
                _, fault = _inspect(path, place, verify=True)
                if fault:
                    bad += 1
                    removed = "; removed" if remove else ""
                    bar.write(f"{path}: {fault}{removed}", sys.stdout)
                    if remove:
                        path.unlink(missing_ok=True)
    print(f"{checked} files checked, {bad} bad")
    return 1 if bad else 0


def prune_cache(
    folder: str | Path,
    signature: str | None = None,
    older_than: float | None = None,
    dry_run: bool = False,
) -> None:
    """Delete what no run will read, and whole folders of features on request.

    Leftovers of killed processes, files that are no entries, and damaged entries (by
    their headers and sizes: `verify_cache` reads all bytes) go always. What a
    running extraction is writing stays.

    Arguments
    ---------
    folder : path
        The ``cache_folder``.
    signature : str or None
        Name of a folder of features, or the digits in it.
    older_than : float or None
        Days: folders of features to which nothing was added for so long.
    dry_run : bool
        Say what would be deleted, and delete nothing.
    """
    places = _places(folder)
    asked = [p for p in places if signature in (p.name, p.name.rpartition("-")[2])]
    if signature is not None and not asked:
        raise InputError(
            f"{folder}: there are no features {signature!r}; there are "
            f"{', '.join(place.name for place in places)}"
        )
    verb = "would remove" if dry_run else "removed"
    limit = -math.inf if older_than is None else time.time() - older_than * _DAY
    count = freed = 0
    for place in places:
        newest = max(path.lstat().st_mtime for path in (place, *place.rglob("*")))
        if place in asked or newest < limit:
            doomed = {place: "all its features"}
        else:
            faults = {path: _inspect(path, place)[1] for path in _files(place)}
            doomed = {path: fault for path, fault in faults.items() if fault}
        for path, reason in doomed.items():
            count += 1
            freed += _bytes_below(path) if path == place else path.lstat().st_size
            print(f"{verb} {path}: {reason}", flush=True)
            if not dry_run:
                shutil.rmtree(path) if path == place else path.unlink(missing_ok=True)
    print(f"{verb} {count} files and folders, {decimal(freed)}")


def _places(folder: str | Path) -> list[Path]:
    """List the folders of features in a ``cache_folder``."""
    places = [
        path
        for path in sorted(Path(folder).glob("*"))
        if _FOLDER.fullmatch(path.name)
        and ((path / ABOUT).exists() or (path / ENTRIES).exists())
    ]
    if not places:
        raise InputError(
            f"{folder}: no features are stored here: there is no folder such as "
            "wavlm-0123456789abcdef; give the cache_folder of a run"
        )
    return places


def _files(place: Path) -> list[Path]:
    """List all files of a folder of features, but not what is being written.

    An entry is written in seconds, under a name that begins with a dot: such a file
    that nobody touched for an hour was left by a process that was stopped.
    """
    found = []
    for path in [*sorted(place.glob(".*")), *sorted((place / ENTRIES).rglob("*"))]:
        with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
            status = path.lstat()
            young = status.st_mtime > time.time() - _HOUR
            if not (stat.S_ISDIR(status.st_mode) or (path.name[0] == "." and young)):
                found.append(path)
    return found


def _inspect(path: Path, place: Path, verify: bool = False) -> tuple[int | None, str]:
    """Return the samples of an entry's clip, or what is wrong with the file."""
    if path.name.startswith("."):
        return None, "left over by a process that was stopped"
    try:
        return open_entry(path, place, verify)[0]["samples"], ""
    except MissingEntryError:
        return None, ""  # removed meanwhile
    except BadEntryError as error:
        return None, error.args[1]
    except OSError as error:
        return None, str(error)


def _bytes_below(place: Path) -> int:
    return sum(path.lstat().st_size for path in place.rglob("*") if path.is_file())
