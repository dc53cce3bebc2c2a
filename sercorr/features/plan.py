"""Which clips are computed together: the same groups in every run and process.

The last bits of a clip's features depend on the clips that it was computed with.
Groups are therefore planned over the whole corpus, whatever is in the store already
and however many processes share the work, so that a run which was interrupted ends
with the same bytes as one that was not (on one kind of machine, with one version of
torch and one number of threads: these, too, decide about last bits).
"""

import functools
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_header, require_one_frame
from sercorr.files import file_digest

_MOMENT = 100_000_000  # nanoseconds; file systems' clocks tick at least every 10 ms


class Clip(NamedTuple):
    """An audio file of the corpus: SHA-256 of its bytes, place, length at 16 kHz."""

    digest: str
    path: Path
    samples: int


def hash_files(
    wavs: Mapping[str, str | os.PathLike], progress: bool = True
) -> dict[str, str]:
    """Hash audio files, each once per process: id -> SHA-256, in the same order."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(_digest, wavs.values())
        bar = tqdm(
            digests, "hashing audio", len(wavs), unit="clip", disable=not progress
        )
        return dict(zip(wavs, bar, strict=True))


def plan_groups(
    digests: Mapping[str, str],
    wavs: Mapping[str, str | os.PathLike],
    max_seconds: float,
) -> list[list[Clip]]:
    """Put clips of similar length together, longest first; equal files once.

    ``digests`` and ``wavs`` are of the whole corpus, by id. What comes out depends on
    the files' contents alone, not on ids, order or places.
    """
    first: dict[str, Path] = {}
    for identity, digest in digests.items():
        first.setdefault(digest, Path(wavs[identity]))
    clips = []
    for digest, path in sorted(first.items()):
        info = read_header(path)
        require_one_frame(path, info)
        clips.append(Clip(digest, path, info.samples))
    limit = round(max_seconds * SAMPLE_RATE)
    groups = length_groups([clip.samples for clip in clips], limit)
    return [[clips[index] for index in group] for group in groups]


def length_groups(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Put clips of similar length together, longest first, as indices.

    A padded group has at most ``limit`` samples; a longer clip is a group of its own.

    Example
    -------
    >>> length_groups([5, 1, 4, 2], limit=10)
    [[0, 2], [3, 1]]
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _digest(path: str | os.PathLike) -> str:
    """Hash a file, or remember its hash while the file has not been touched.

    The time of its last change (``ctime``) cannot be set back. Changes within one tick
    of the file system's clock look the same, so that young files are not remembered.
    """
    try:
        found = os.stat(path)
    except OSError:
        return file_digest(path)  # which says what is wrong
    if time.time_ns() - found.st_ctime_ns < _MOMENT:
        return file_digest(path)
    stamp = (found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns)
    return _remembered(os.fspath(path), stamp)


@functools.lru_cache(maxsize=1 << 18)
def _remembered(path: str, _stamp: tuple[int, ...]) -> str:
    return file_digest(path)
