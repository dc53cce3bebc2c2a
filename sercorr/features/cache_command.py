"""``sercorr cache``: what is in a feature cache, is it whole, and what can go."""

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.features.checks import in_units
from sercorr.features.signature import ABOUT, Signature
from sercorr.features.survey import ENTRIES, survey

_DAY = 86400.0
_PLACE = re.compile(r"[a-z0-9_]+-[0-9a-f]{16}")


def add_cache_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``cache info | verify | prune`` to a command line.

    Arguments
    ---------
    subparsers : argparse's sub-parsers
        Of the program; each command gets ``run``, a function of the arguments.
    """
    parser = subparsers.add_parser("cache", help="look after a feature cache")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="list what is in it")
    info.set_defaults(run=lambda given: show_info(given.folder))
    verify = commands.add_parser("verify", help="compare all bytes with checksums")
    verify.add_argument(
        "--remove", action="store_true", help="delete the bad files that are found"
    )
    verify.set_defaults(run=lambda given: verify_cache(given.folder, given.remove))
    prune = commands.add_parser(
        "prune", help="delete leftovers, damaged and foreign files"
    )
    prune.add_argument(
        "--signature",
        metavar="NAME",
        help="delete this folder of features, too (its name, or the digits in it)",
    )
    prune.add_argument(
        "--older-than",
        type=float,
        metavar="DAYS",
        help="delete every folder of features, too, to which nothing was added since",
    )
    prune.add_argument(
        "--dry-run", action="store_true", help="only say what would be deleted"
    )
    prune.set_defaults(
        run=lambda given: prune_cache(
            given.folder, given.signature, given.older_than, given.dry_run
        )
    )
    for command in (info, verify, prune):
        command.add_argument("folder", metavar="FOLDER", help="the cache_folder")


def show_info(folder: str | Path) -> None:
    """Print a table of the features in a cache.

    Raises
    ------
    InputError
        The folder is no feature cache.
    """
    rows = [("folder", "model", "dtype", "entries", "hours", "size")]
    for place in _places(folder):
        files = list(survey(place))
        samples = [file.header.samples for file in files if file.header]
        try:
            signature = Signature.read(place)
        except InputError as error:
            print(error, file=sys.stderr)
            model, dtype = "unknown", "unknown"
        else:
            upstream, dtype = signature.content["upstream"], signature.dtype
            model = (
                f"{upstream['model_type']}, {upstream['num_layers']} x "
                f"{upstream['output_size']}, weights {upstream['digest'][:8]}"
            )
        hours = f"{sum(samples) / SAMPLE_RATE / 3600:.2f}"
        size = in_units(_bytes_below(place))
        rows.append((place.name, model, dtype, str(len(samples)), hours, size))
        if len(samples) < len(files):
            print(
                f"{place}: {len(files) - len(samples)} files are no entries; see: "
                f"sercorr cache verify {folder}",
                file=sys.stderr,
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    print(f"{in_units(shutil.disk_usage(folder).free)} free in {folder}")


def verify_cache(folder: str | Path, remove: bool = False) -> int:
    """Compare every byte of a cache with the checksums; name what is bad.

    Arguments
    ---------
    folder : path
        The cache.
    remove : bool
        Delete bad files; the next extraction makes the entries again.

    Returns
    -------
    int
        1 if something bad was found, else 0.

    Raises
    ------
    InputError
        The folder is no feature cache.
    """
    checked = bad = 0
    for place in _places(folder):
        try:
            Signature.read(place)
        except InputError as error:
            bad += 1
            print(error)
        with tqdm(list(survey(place)), place.name, unit="file") as bar:
            for file in bar:
                checked += 1
                fault = file.fault or file.damage()
                if fault is None:
                    continue
                bad += 1
                if remove:
                    file.path.unlink(missing_ok=True)
                removed = "; removed" if remove else ""
                bar.write(f"{file.path}: {fault}{removed}", sys.stdout)
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
        The cache.
    signature : str or None
        Name of a folder of features, or the digits in it.
    older_than : float or None
        Days: folders of features to which nothing was added for so long.
    dry_run : bool
        Say what would be deleted, and delete nothing.

    Raises
    ------
    InputError
        The folder is no feature cache, or has no such folder of features.
    """
    places = _places(folder)
    names = [name for place in places for name in (place.name, place.name[-16:])]
    if signature is not None and signature not in names:
        raise InputError(
            f"{folder}: there are no features {signature!r}; there are "
            f"{', '.join(place.name for place in places)}"
        )
    verb = "would remove" if dry_run else "removed"
    count = freed = 0
    for place in places:
        if signature in (place.name, place.name[-16:]) or _is_old(place, older_than):
            count += 1
            freed += _bytes_below(place)
            print(f"{verb} {place}: all its features", flush=True)
            if not dry_run:
                shutil.rmtree(place)
            continue
        for file in survey(place):
            if file.fault is None:
                continue
            count += 1
            freed += file.path.lstat().st_size
            print(f"{verb} {file.path}: {file.fault}", flush=True)
            if not dry_run:
                file.path.unlink(missing_ok=True)
    print(f"{verb} {count} files and folders, {in_units(freed)}")


def _places(folder: str | Path) -> list[Path]:
    """List the folders of features in a cache."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the cache_folder of a run")
    places = [
        path
        for path in sorted(folder.iterdir())
        if _PLACE.fullmatch(path.name)
        and ((path / ABOUT).exists() or (path / ENTRIES).exists())
    ]
    if not places:
        raise InputError(
            f"{folder}: no feature cache: it has no folder such as "
            "wavlm-0123456789abcdef; give the cache_folder of a run"
        )
    return places


def _is_old(place: Path, days: float | None) -> bool:
    if days is None:
        return False
    newest = max(path.lstat().st_mtime for path in (place, *place.rglob("*")))
    return newest < time.time() - days * _DAY


def _bytes_below(place: Path) -> int:
    return sum(path.lstat().st_size for path in place.rglob("*") if path.is_file())
