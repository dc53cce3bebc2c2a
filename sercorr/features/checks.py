"""Before an extraction: what is missing, and whether there is room for it."""

import logging
import shutil
from collections.abc import Iterable, Sequence

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sercorr.errors import InputError
from sercorr.features.plan import Clip, seconds_of
from sercorr.features.store import CorruptEntryError, FeatureStore, MissingEntryError
from sercorr.lobes.upstream.frozen import FrozenUpstream

logger = logging.getLogger(__name__)

_BLOCK = 4096  # file systems give space in blocks


def find_missing(
    store: FeatureStore,
    digests: Iterable[str],
    verify: bool = False,
    progress: bool = True,
) -> tuple[set[str], set[str]]:
    """Find the clips without a usable entry; damaged ones are named in the log.

    Arguments
    ---------
    store : FeatureStore
        The cache.
    digests : iterable of str
        Digests of audio files.
    verify : bool
        Compare every byte with the checksums.
    progress : bool
        Show a progress bar if ``verify``.

    Returns
    -------
    missing : set of str
        Digests to compute.
    damaged : set of str
        Those among them that have an unusable entry.
    """
    missing, damaged = set(), set()
    bar = tqdm(
        sorted(set(digests)),
        "checking the cache",
        unit="clip",
        disable=not (progress and verify),
    )
    with logging_redirect_tqdm():
        for digest in bar:
            fault = _fault(store, digest, verify)
            if isinstance(fault, CorruptEntryError):
                logger.warning("%s; made again", str(fault).rpartition(";")[0])
                damaged.add(digest)
            elif fault is not None:
                missing.add(digest)
    return missing | damaged, damaged


def require_space(
    store: FeatureStore,
    upstream: FrozenUpstream,
    clips: Sequence[Clip],
    report: bool = True,
) -> None:
    """Print how many bytes clips need and what is free; refuse what cannot fit.

    Raises
    ------
    InputError
        There is not enough room.
    """
    needed = 0
    for clip in clips:
        size = store.entry_bytes(upstream.frames(clip.samples))
        needed += -(-size // _BLOCK) * _BLOCK
    free = shutil.disk_usage(store.folder).free
    if report:
        print(
            f"{len(clips)} clips ({seconds_of([clips]) / 3600:.2f} h) to extract: "
            f"{in_units(needed)} needed, {in_units(free)} free in {store.folder}",
            flush=True,
        )
    if needed > free:
        raise InputError(
            f"{store.folder}: {in_units(needed)} ({needed} bytes) are needed for "
            f"{len(clips)} clips, {in_units(free)} ({free} bytes) are free: make "
            "room, choose another cache_folder, or a smaller cache_dtype"
        )


def in_units(size: int) -> str:
    """Write a number of bytes for people.

    Example
    -------
    >>> in_units(999), in_units(1536000), in_units(64_500_000_000)
    ('999 bytes', '1.5 MB', '64.5 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def _fault(store: FeatureStore, digest: str, verify: bool) -> InputError | None:
    try:
        store.check(digest, verify)
    except (MissingEntryError, CorruptEntryError) as error:
        return error
    return None
