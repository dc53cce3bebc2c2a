"""Filling a feature store: what is missing is computed once, for all runs.

While the upstream is at one group of clips, the next is read and the last is written.
"""

import copy
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from rich.filesize import decimal
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sercorr import SAMPLE_RATE
from sercorr.errors import InputError
from sercorr.features.compute import (
    Computed,
    compute_group,
    read_group,
    require_close,
)
from sercorr.features.entry import BadEntryError, MissingEntryError
from sercorr.features.plan import Clip, hash_files, plan_groups
from sercorr.features.store import FeatureStore
from sercorr.files import require_writable
from sercorr.lobes.upstream.frozen import FrozenUpstream

logger = logging.getLogger(__name__)

CPU_SECONDS = 0.0
"""Most audio at once when extracting on a CPU: each clip alone, which is the fastest
there. One clip keeps the cores busy, and groups spend time on padding."""

_BAR = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}, {remaining} left]"
_BLOCK = 4096  # file systems give space in blocks


class StoredClips:
    """Features of a corpus in a store: read by id, computed where they are missing.

    Arguments
    ---------
    upstream : Upstream or FrozenUpstream
        With ``info``, ``frames(samples)`` and ``load(device)``, which is called only
        if something is to be computed.
    wavs : mapping
        Id -> audio file, of the whole corpus: clips are grouped over all of them.
    cache_folder : path
        Holds stores side by side; need not be there yet.
    dtype : str
        Stored precision.
    precision : str
        Of the computation: ``fp32``, or ``bf16`` for matrix products in bfloat16.
    max_seconds : float
        Most padded seconds of audio that the upstream sees at once; 0: clip by clip.
    device : str
        Where the upstream runs.
    progress : bool
        Show progress bars. Of several processes under ``torchrun``, only the first
        prints anything.

    Attributes
    ----------
    store : FeatureStore
        Where the features are.
    digests : dict
        Id -> SHA-256 of the audio file, which names the entry.
    precision, device, progress
        As given; ``progress`` is False in all processes but the first.
    """

    def __init__(
        self,
        upstream: Any,
        wavs: Mapping[str, str | os.PathLike],
        cache_folder: str | os.PathLike,
        dtype: str = "float16",
        *,
        precision: str = "fp32",
        max_seconds: float = 60.0,
        device: str | torch.device = "cpu",
        progress: bool = True,
    ):
        info = upstream.info.at_precision(precision)
        self.store = FeatureStore(cache_folder, info, dtype)
        self.precision, self.device = precision, torch.device(device)
        self._upstream, self._wavs, self._max_seconds = upstream, wavs, max_seconds
        self._rank = int(os.environ.get("RANK", "0"))
        self._world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.progress = progress and self._rank == 0
        self.digests = hash_files(wavs, self.progress)

    def read(self, identity: str, verify: bool = True) -> torch.Tensor:
        """Read a clip's layers (L + 1, T, D), mapped; see `FeatureStore.read`."""
        return self.store.read(self.digests[identity], verify)

    def fill(self, verify: bool = False) -> None:
        """Compute and store the features of all clips that have none.

        Under ``torchrun``, each process computes its share; others may still be at
        theirs when it returns.

        Arguments
        ---------
        verify : bool
            Compare every byte of the entries that are there with their checksums. The
            files' sizes and headers are checked in any case.

        Raises
        ------
        InputError
            A file is not usable, it changed meanwhile, the space does not suffice, a
            number is too large for the stored precision, or bfloat16 is too far from
            float32. Finished clips are kept.
        """
        missing, damaged = self._find_missing(verify)
        if not missing:
            return
        require_writable(self.store.folder)
        groups = self._groups()
        self._require_space([c for g in groups for c in g if c.digest in missing])
        # all groups are dealt, so that processes agree whatever is finished already
        mine = [
            group
            for group in groups[self._rank :: self._world_size]
            if any(clip.digest in missing for clip in group)
        ]
        if not mine:
            return
        upstream = self._load(groups)
        self.store.open_for_writing()

        def lacks(clip: Clip) -> bool:  # another process may have written it meanwhile
            if clip.digest in damaged:
                return True
            return clip.digest in missing and not self.store.has(clip.digest)

        total = sum(clip.samples for group in mine for clip in group)
        bar = tqdm(total=total, bar_format=_BAR, disable=not self.progress)
        done, of_all = 0, sum(map(len, mine))
        written: Future | None = None
        with ThreadPoolExecutor(2) as pool, bar, logging_redirect_tqdm():
            for group, waves in _read_ahead(pool, _rotate(mine), lacks):
                if waves is not None:
                    computed = compute_group(upstream, group, waves, self.store.dtype)
                    if written is not None:
                        written.result()
                    written = pool.submit(self._write, computed, lacks)
                done += len(group)
                bar.update(sum(clip.samples for clip in group))
                elapsed = max(bar.format_dict["elapsed"], 1e-9)
                bar.set_description_str(
                    f"extracting {done}/{of_all} clips, "
                    f"{bar.n / SAMPLE_RATE / elapsed:.1f} audio-seconds/s",
                    refresh=False,
                )
            if written is not None:
                written.result()

    def compute_again(self, identity: str, fault: BadEntryError) -> torch.Tensor:
        """Compute one clip, with the same bytes as in `fill`, and write it anew.

        It does not touch torch's random numbers. Where nothing can be written, the
        entry stays as it is.

        Arguments
        ---------
        identity : str
            The clip.
        fault : BadEntryError
            Why it cannot be read; goes into the log.

        Returns
        -------
        torch.Tensor
            (L + 1, T, D) on the CPU in the stored precision.
        """
        digest = self.digests[identity]
        group = next(
            group
            for group in self._groups()
            if any(clip.digest == digest for clip in group)
        )
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            upstream = self._load()
            computed = compute_group(
                upstream, group, read_group(group), self.store.dtype
            )
        own = next(entry for entry in computed if entry.clip.digest == digest)
        own.require_finite()
        layers = own.stored.to("cpu")
        try:
            self.store.write(digest, layers, own.clip.samples)
            place = "computed again from"
        except (InputError, OSError):
            place = "nothing can be written there; computed in memory from"
        logger.warning("%s: %s; %s %s", *fault.args, place, own.clip.path)
        return layers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_upstream": None}  # loader processes only read

    def _find_missing(self, verify: bool) -> tuple[set[str], set[str]]:
        """Find the digests to compute, and those among them with an unusable entry."""
        missing, damaged = set(), set()
        bar = tqdm(
            sorted(set(self.digests.values())),
            "checking the store",
            unit="clip",
            disable=not (self.progress and verify),
        )
        with logging_redirect_tqdm():
            for digest in bar:
                try:
                    self.store.check(digest, verify)
                except MissingEntryError:
                    missing.add(digest)
                except BadEntryError as error:
                    damaged.add(digest)
                    if self._rank == 0:
                        logger.warning("%s: %s; made again", *error.args)
        return missing | damaged, damaged

    def _load(self, groups: Sequence[list[Clip]] = ()) -> FrozenUpstream:
        """Load the upstream at its precision; measure bf16 on some of the groups.

        All processes under ``torchrun`` measure, and refuse, the same.
        """
        upstream = self._upstream.load(self.device)
        if self.precision == "fp32":
            return upstream
        half = copy.deepcopy(upstream).use_bfloat16()  # others may use the original
        if groups:
            places = sorted({len(groups) * part // 4 for part in (1, 2, 3)})
            self._say(require_close(upstream, half, [groups[i] for i in places]))
        return half

    def _groups(self) -> list[list[Clip]]:
        return plan_groups(self.digests, self._wavs, self._max_seconds)

    def _require_space(self, clips: Sequence[Clip]) -> None:
        """Say how many bytes clips need and what is free; refuse what cannot fit."""
        needed = 0
        for clip in clips:
            size = self.store.entry_bytes(self._upstream.frames(clip.samples))
            needed += -(-size // _BLOCK) * _BLOCK
        free = shutil.disk_usage(self.store.folder).free
        hours = sum(clip.samples for clip in clips) / SAMPLE_RATE / 3600
        self._say(
            f"{len(clips)} clips ({hours:.2f} h) to extract: {decimal(needed)} "
            f"needed, {decimal(free)} free in {self.store.folder}"
        )
        if needed > free:
            raise InputError(
                f"{self.store.folder}: {decimal(needed)} ({needed} bytes) are needed "
                f"for {len(clips)} clips, {decimal(free)} ({free} bytes) are free: "
                "make room, choose another cache_folder, or a smaller cache_dtype"
            )

    def _write(self, computed: list[Computed], lacks: Callable[[Clip], bool]) -> None:
        for entry in computed:
            if lacks(entry.clip):
                entry.require_finite()
                self.store.write(entry.clip.digest, entry.stored, entry.clip.samples)

    def _say(self, text: str) -> None:
        if self._rank == 0:
            print(text, flush=True)


def extract(
    upstream: Any,
    clips: Mapping[str, str | os.PathLike],
    *,
    cache_folder: str | os.PathLike,
    cache_dtype: str = "float16",
    extract_precision: str = "fp32",
    max_batch_seconds: float = 60.0,
    device: str | torch.device = "cpu",
    progress: bool = True,
    verify: bool = False,
) -> StoredClips:
    """Compute and store the features of all clips that have none.

    Arguments are those of `sercorr.features.open_features`, errors those of
    `StoredClips.fill`. Processes that ``torchrun`` starts share the clips; the others
    may still be at theirs when this one returns.

    Returns
    -------
    StoredClips
        To read the features by id; ``store.folder`` is where they are.
    """
    if torch.device(device).type == "cpu":
        max_batch_seconds = min(max_batch_seconds, CPU_SECONDS)
    stored = StoredClips(
        upstream,
        clips,
        cache_folder,
        cache_dtype,
        precision=extract_precision,
        max_seconds=max_batch_seconds,
        device=device,
        progress=progress,
    )
    stored.fill(verify)
    return stored


def _read_ahead(
    pool: ThreadPoolExecutor, groups: list[list[Clip]], lacks: Callable[[Clip], bool]
) -> Iterator[tuple[list[Clip], list[torch.Tensor] | None]]:
    """Yield groups with their audio, None if all their entries have appeared meanwhile.

    The next group's audio is being read meanwhile.
    """

    def read(group: list[Clip]) -> list[torch.Tensor] | None:
        return read_group(group) if any(map(lacks, group)) else None

    ahead = pool.submit(read, groups[0])
    for index, group in enumerate(groups):
        waves = ahead.result()
        if index + 1 < len(groups):
            ahead = pool.submit(read, groups[index + 1])
        yield group, waves


def _rotate(groups: list[list[Clip]]) -> list[list[Clip]]:
    """Start at a random group, so that two processes on one store seldom meet."""
    start = random.SystemRandom().randrange(len(groups))
    return groups[start:] + groups[:start]
