"""Which clips are computed together: the same groups in every run and process.

The last bits of a clip's features depend on the clips that it was computed with.
Groups are therefore planned over the whole corpus, whatever is in the store already
and however many processes share the work, so that a run which was interrupted ends
with the same bytes as one that was not (on one kind of machine, with one version of
torch and one number of threads: these, too, decide about last bits).
"""

import functools
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.data.audio import Part, read_header, require_one_frame
from sercorr.files import file_digest

_MOMENT = 100_000_000  # nanoseconds; file systems' clocks tick at least every 10 ms


class Clip(NamedTuple):
    """A clip of the corpus: its digest, where it is, its length at 16 kHz."""

    digest: str
    part: Part
    samples: int


def as_parts(clips: Mapping[str, str | os.PathLike | Part]) -> dict[str, Part]:
    """Let every clip be a part, by id: a path stands for the whole file."""
    return {
        identity: clip if isinstance(clip, Part) else Part(clip)
        for identity, clip in clips.items()
    }


def hash_clips(
    clips: Mapping[str, str | os.PathLike | Part], progress: bool = True
) -> dict[str, str]:
    """Hash clips: id -> digest, in the same order; see `clip_digest`."""
    parts = as_parts(clips)
    files = list(dict.fromkeys(os.fspath(part.file) for part in parts.values()))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        bar = tqdm(
            pool.map(_digest, files),
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


def clip_digest(part: Part) -> str:
    """Return the SHA-256 of a file's bytes; for a part, one of that and its place.

    A file that is not touched is read once per process.
    """
    return _digest_of_part(part, _digest(os.fspath(part.file)))


def plan_groups(
    digests: Mapping[str, str], parts: Mapping[str, Part], max_seconds: float
) -> list[list[Clip]]:
    """Put clips of similar length together, longest first; equal ones once.

    ``digests`` and ``parts`` are of the whole corpus, by id. What comes out depends on
    the clips' contents alone, not on ids, order or places.
    """
    first: dict[str, Part] = {}
    for identity, digest in digests.items():
        first.setdefault(digest, parts[identity])
    clips = []
    for digest, part in sorted(first.items()):
        info = part.of(read_header(part.file))
        require_one_frame(part, info)
        clips.append(Clip(digest, part, info.samples))
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
    return _remembered(path, stamp)


@functools.lru_cache(maxsize=1 << 18)
def _remembered(path: str, _stamp: tuple[int, ...]) -> str:
    return file_digest(path)
