"""Filling a feature store: what is missing is computed once, for all runs.

While the upstream is at one group of clips, the next is read and the last is written.
"""

import logging
import os
import random
import shutil
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from rich.filesize import decimal
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sercorr import SAMPLE_RATE
from sercorr.data.audio import Part
from sercorr.errors import InputError
from sercorr.features.compute import (
    Computed,
    compute_group,
    read_group,
    require_close,
)
from sercorr.features.entry import BadEntryError, MissingEntryError
from sercorr.features.plan import Clip
from sercorr.features.store import FeatureStore
from sercorr.features.stored import StoredFeatures
from sercorr.files import require_writable
from sercorr.lobes.upstream.frozen import FrozenUpstream
from sercorr.threads import use_threads

logger = logging.getLogger(__name__)

CPU_SECONDS = 0.0
"""Most audio at once when extracting on a CPU: each clip alone, which is the fastest
there. One clip keeps the cores busy, and groups spend time on padding."""

_BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_noinv_fmt} [{elapsed}, {remaining} left]"
_BLOCK = 4096  # file systems give space in blocks


def extract(
    upstream: Any,
    clips: Mapping[str, str | os.PathLike | Part],
    *,
    cache_folder: str | os.PathLike,
    cache_dtype: str = "float16",
    extract_precision: str = "fp32",
    max_batch_seconds: float = 60.0,
    threads: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
    verify: bool = False,
    share: tuple[int, int] | None = None,
) -> StoredFeatures:
    """Compute and store the features of all clips that have none.

    Arguments are those of `sercorr.features.open_features`, and ``share``: (i, n) for
    the i-th of n processes, from 0, that share the clips; None: as ``torchrun`` says,
    if it started this one. The others may still be at theirs when this one returns.
    ``store.folder`` of what comes back is where the features are.

    Last bits depend on the number of threads. The store's own record has it, and who
    goes on with an extraction uses as many.

    Raises
    ------
    InputError
        A file is not usable, it changed meanwhile, the space does not suffice, a
        number is too large for the stored precision, or bfloat16 is too far from
        float32. Finished clips are kept.
    """
    info = upstream.info.at_precision(extract_precision)
    store = FeatureStore(cache_folder, info, cache_dtype)
    rank, processes = share or (
        int(os.environ.get("RANK", "0")),
        int(os.environ.get("WORLD_SIZE", "1")),
    )
    loud = rank == 0 or share is not None  # those of torchrun have one terminal
    progress = progress and loud
    if torch.device(device).type == "cpu":
        max_batch_seconds = min(max_batch_seconds, CPU_SECONDS)
    features = StoredFeatures(
        upstream, clips, store, extract_precision, max_batch_seconds, device, progress
    )
    groups = features.groups() if share is not None else []
    own = {clip.digest for group in groups[rank::processes] for clip in group}
    digests = own if share is not None else set(features.digests.values())
    missing, damaged = _find_missing(features, digests, verify, loud)
    if not missing:
        return features
    require_writable(store.folder)
    groups = groups or features.groups()
    wanted = [clip for group in groups for clip in group if clip.digest in missing]
    for clip in wanted:  # the shortest come last, perhaps after hours
        if not upstream.frames(clip.samples):
            raise InputError(
                f"{clip.part}: too short for {info.source}: {clip.samples} samples at "
                f"{SAMPLE_RATE} Hz give no frame; leave the clip out"
            )
    _require_space(store, upstream.frames, wanted, loud)
    # all groups are dealt, so that processes agree whatever is finished already
    mine = [g for g in groups[rank::processes] if any(c.digest in missing for c in g)]
    if not mine:
        return features
    threads = store.threads or threads or torch.get_num_threads()
    with use_threads(threads):
        model = features.load_upstream()
        if extract_precision == "bf16":  # all processes measure, and refuse, the same
            places = sorted({len(groups) * part // 4 for part in (1, 2, 3)})
            measured = [groups[place] for place in places]
            error = require_close(upstream.load(device), model, measured)
            if loud:
                print(error, flush=True)
        store.open_for_writing(threads)
        if rank == 0:
            features.record_digests()

        def lacks(clip: Clip) -> bool:  # another process may have written it meanwhile
            if clip.digest in damaged:
                return True
            return clip.digest in missing and not store.has(clip.digest)

        # starting at a random group, two processes on one store seldom meet
        start = random.SystemRandom().randrange(len(mine))
        _work_through(features, model, mine[start:] + mine[:start], lacks)
    return features


def missing_groups(
    upstream: Any,
    clips: Mapping[str, str | os.PathLike | Part],
    *,
    cache_folder: str | os.PathLike,
    cache_dtype: str = "float16",
    extract_precision: str = "fp32",
    max_batch_seconds: float = 60.0,
    threads: int | None = None,
) -> list[list[Clip]]:
    """List the groups of clips that `extract` would compute on a CPU.

    Arguments are those of `extract`; so are the errors, where the space does not
    suffice.
    """
    del max_batch_seconds, threads  # decide nothing here
    info = upstream.info.at_precision(extract_precision)
    store = FeatureStore(cache_folder, info, cache_dtype)
    features = StoredFeatures(
        upstream, clips, store, extract_precision, CPU_SECONDS, "cpu", True
    )
    digests = set(features.digests.values())
    missing, _ = _find_missing(features, digests, verify=False, loud=False)
    if not missing:
        return []
    require_writable(store.folder)
    groups = [g for g in features.groups() if any(c.digest in missing for c in g)]
    wanted = [clip for group in groups for clip in group if clip.digest in missing]
    _require_space(store, upstream.frames, wanted, loud=True)
    return groups


def _find_missing(
    features: StoredFeatures, digests: Collection[str], verify: bool, loud: bool
) -> tuple[set[str], set[str]]:
    """Find the digests to compute, and those among them with an unusable entry."""
    missing, damaged = set(), set()
    off = not (features.progress and verify)
    with logging_redirect_tqdm():
        for digest in tqdm(
            sorted(digests), "checking the store", unit="clip", disable=off
        ):
            try:
                features.store.check(digest, verify)
            except MissingEntryError:
                missing.add(digest)
            except BadEntryError as error:
                damaged.add(digest)
                if loud:
                    logger.warning("%s: %s; made again", *error.args)
    return missing | damaged, damaged


def _require_space(
    store: FeatureStore, frames: Callable[[int], int], clips: list[Clip], loud: bool
) -> None:
    """Say how many bytes clips need and what is free; refuse what cannot fit."""
    sizes = [store.entry_bytes(frames(clip.samples)) for clip in clips]
    needed = sum(-(-size // _BLOCK) * _BLOCK for size in sizes)
    folder, free = store.folder, shutil.disk_usage(store.folder).free
    hours = sum(clip.samples for clip in clips) / SAMPLE_RATE / 3600
    if loud:
        print(
            f"{len(clips)} clips ({hours:.2f} h) to extract: {decimal(needed)} needed, "
            f"{decimal(free)} free in {folder}",
            flush=True,
        )
    if needed > free:
        raise InputError(
            f"{folder}: {decimal(needed)} ({needed} bytes) are needed for "
            f"{len(clips)} clips, {decimal(free)} ({free} bytes) are free: make room, "
            "choose another cache_folder, or a smaller cache_dtype"
        )


def _work_through(
    features: StoredFeatures,
    model: FrozenUpstream,
    groups: list[list[Clip]],
    lacks: Callable[[Clip], bool],
) -> None:
    """Compute and write what groups lack, reading and writing in threads beside."""
    store = features.store

    def read(group: list[Clip]) -> list[torch.Tensor]:
        return read_group(group) if any(map(lacks, group)) else []

    def write(computed: list[Computed]) -> None:
        for entry in computed:
            if lacks(entry.clip):
                entry.require_finite()
                store.write(entry.clip.digest, entry.stored, entry.clip.samples)

    seconds = [sum(clip.samples for clip in g) / SAMPLE_RATE for g in groups]
    bar = tqdm(
        desc=f"extracting {sum(map(len, groups))} clips",
        total=sum(seconds),
        unit=" audio-seconds",
        smoothing=0,  # the rate is the average of all
        bar_format=_BAR,
        disable=not features.progress,
    )
    with ThreadPoolExecutor(2) as pool, bar, logging_redirect_tqdm():
        reading, writing = pool.submit(read, groups[0]), pool.submit(write, [])
        for index, group in enumerate(groups):
            waves = reading.result()
            if group is not groups[-1]:
                reading = pool.submit(read, groups[index + 1])
            if waves:
                computed = compute_group(model, group, waves, store.dtype)
                writing.result()
                writing = pool.submit(write, computed)
            bar.update(seconds[index])
        writing.result()
