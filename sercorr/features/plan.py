"""Which clips are computed together: the same groups in every run and process.

The last bits of a clip's features depend on the clips that it was computed with.
Groups are therefore planned over the whole corpus, whatever is in the cache already
and however many processes share the work, so that a run which was interrupted ends
with the same bytes as one that was not (on one kind of machine, with one version of
torch and one number of threads: these, too, decide about last bits).
"""

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_header, require_one_frame
from sercorr.features.live import length_groups
from sercorr.features.store import audio_digest


class Clip(NamedTuple):
    """An audio file of the corpus.

    Attributes
    ----------
    digest : str
        SHA-256 of its bytes.
    path : pathlib.Path
        Where it is; of equal files, the first.
    samples : int
        Length at 16 kHz.
    """

    digest: str
    path: Path
    samples: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.samples / SAMPLE_RATE


class Share(NamedTuple):
    """The part of the work that one of several processes has.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    world_size : int
        Number of processes.

    Example
    -------
    >>> Share(1, 2).of(["a", "b", "c", "d", "e"])
    ['b', 'd']
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls) -> "Share":
        """Read what ``torchrun`` sets: ``RANK`` and ``WORLD_SIZE``."""
        return cls(
            int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        )

    def of(self, items: Sequence) -> list:
        """Deal items round robin and return this process's."""
        return list(items[self.rank :: self.world_size])


def hash_files(
    wavs: Mapping[str, str | os.PathLike], progress: bool = True
) -> dict[str, str]:
    """Hash audio files: id -> digest of the bytes.

    Arguments
    ---------
    wavs : mapping
        Id -> path.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        Id -> SHA-256, in the same order.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(audio_digest, wavs.values())
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

    Arguments
    ---------
    digests, wavs : mapping
        Id -> digest, id -> path, of the whole corpus.
    max_seconds : float
        Most padded seconds of audio of a group.

    Returns
    -------
    list of list of Clip
        It depends on the files' contents alone, not on ids, order or places.

    Raises
    ------
    InputError
        A file is no usable audio.
    """
    first = {}
    for identity, digest in digests.items():
        first.setdefault(digest, Path(wavs[identity]))
    clips = [_clip(digest, first[digest]) for digest in sorted(first)]
    limit = round(max_seconds * SAMPLE_RATE)
    groups = length_groups([clip.samples for clip in clips], limit)
    return [[clips[index] for index in group] for group in groups]


def rotate(groups: list[list[Clip]]) -> list[list[Clip]]:
    """Start at a random group, so that two processes on one cache seldom meet."""
    start = random.SystemRandom().randrange(len(groups)) if groups else 0
    return groups[start:] + groups[:start]


def seconds_of(groups: Iterable[Sequence[Clip]]) -> float:
    """Add up the durations of all clips of some groups."""
    return sum(clip.seconds for group in groups for clip in group)


def _clip(digest: str, path: Path) -> Clip:
    info = read_header(path)
    require_one_frame(path, info)
    return Clip(digest, path, info.samples)
