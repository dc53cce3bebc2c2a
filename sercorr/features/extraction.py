"""Filling a feature cache: what is missing is computed, once and for all runs."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from speechbrain.utils.distributed import infer_device

from sercorr.data.manifests import SPLITS, read_manifest
from sercorr.errors import InputError
from sercorr.features.checks import find_missing, require_space
from sercorr.features.plan import Share, hash_files, plan_groups, rotate
from sercorr.features.store import FeatureStore
from sercorr.features.work import Extraction
from sercorr.files import require_writable
from sercorr.lobes.upstream import load_upstream
from sercorr.lobes.upstream.frozen import FrozenUpstream, UpstreamInfo
from sercorr.training.settings import Settings

CPU_SECONDS = 0.0
"""Most audio at once on a CPU: each clip alone, which is the fastest there. One clip
keeps the cores busy, and groups spend time on padding."""


@dataclasses.dataclass(frozen=True)
class CachedClips:
    """Features of a corpus by the clips' ids.

    Arguments
    ---------
    store : FeatureStore
        Where they are.
    digests : dict
        Id -> digest of the audio, which names the entry.
    """

    store: FeatureStore
    digests: dict[str, str]

    def shape(self, identity: str) -> tuple[int, int, int]:
        """Look up (L + 1, T, D) of a clip without reading its features."""
        return self.store.header(self.digests[identity]).shape

    def read(self, identity: str, verify: bool = True) -> torch.Tensor:
        """Read a clip's layers (L + 1, T, D), mapped; see `FeatureStore.read`."""
        return self.store.read(self.digests[identity], verify)


def extract(
    load: Callable[[], FrozenUpstream],
    store: FeatureStore,
    wavs: Mapping[str, str | os.PathLike],
    max_seconds: float = 60.0,
    *,
    precision: str = "fp32",
    verify: bool = False,
    share: Share | None = None,
    progress: bool = True,
) -> CachedClips:
    """Compute and store the features of all clips that have none.

    Arguments
    ---------
    load : callable
        Gives the upstream, in float32 on its device; called only if something is
        missing.
    store : FeatureStore
        Made with the identity of that upstream at ``precision``.
    wavs : mapping
        Id -> audio file, of the whole corpus: clips are grouped over all of them.
    max_seconds : float
        Most padded seconds of audio that the upstream sees at once.
    precision : str
        ``fp32``, or ``bf16``: matrix products in bfloat16. The error that it brings is
        measured on one group and printed.
    verify : bool
        Compare every byte of the entries that are there with their checksums. The
        files' sizes and headers are checked in any case.
    share : Share or None
        The part of this process; None: as ``torchrun`` says.
    progress : bool
        Show progress bars.

    Returns
    -------
    CachedClips
        To read the features of ``wavs`` (other processes may still be at theirs).

    Raises
    ------
    InputError
        A file is not usable, it changed meanwhile, the space does not suffice, or a
        number is too large for the stored precision. Finished clips are kept.
    """
    share = share or Share.from_environment()
    progress = progress and share.rank == 0
    digests = hash_files(wavs, progress)
    clips = CachedClips(store, digests)
    missing, damaged = find_missing(store, digests.values(), verify, progress)
    if not missing:
        return clips
    require_writable(store.folder)
    store.open_for_writing()
    groups = plan_groups(digests, wavs, max_seconds)
    mine = [
        group
        for group in share.of(groups)
        if any(clip.digest in missing for clip in group)
    ]
    if not mine:
        return clips
    upstream = load()
    expected = upstream.info.at_precision(precision).identity()
    if expected != store.signature.content["upstream"]:
        raise ValueError("the upstream is not the one that the store was made for")
    absent = [clip for group in groups for clip in group if clip.digest in missing]
    require_space(store, upstream, absent, report=share.rank == 0)
    extraction = Extraction(upstream, store, missing, damaged, progress)
    if precision == "bf16":
        error = extraction.switch_to_bfloat16(mine[len(mine) // 2])
        if share.rank == 0:
            print(
                f"bf16: error of the features {error.mean():.2%} on average over the "
                f"layers, {error.max():.2%} in the worst (of their norm)",
                flush=True,
            )
    extraction.run(rotate(mine))
    return clips


def ensure_cached(
    settings: Settings,
    info: UpstreamInfo,
    wavs: Mapping[str, str | os.PathLike],
    verify: bool = False,
) -> CachedClips:
    """Make sure that the cache of some settings holds all clips.

    Arguments
    ---------
    settings : Settings
        With ``cache_folder``, ``cache_dtype``, ``max_batch_seconds``, the keys of the
        upstream and, if not fp32, ``extract_precision``. On a CPU, at most
        `CPU_SECONDS` are computed at once.
    info : UpstreamInfo
        The upstream of these settings.
    wavs : mapping
        Id -> audio file, of the whole corpus.
    verify : bool
        Compare every byte with the checksums, not sizes and headers only.

    Returns
    -------
    CachedClips
        To read the features.

    Raises
    ------
    InputError
        ``cache_folder`` is not set, or what `extract` raises.
    """
    if settings["cache_folder"] is None:
        raise InputError("cache_folder is not set; add: --cache_folder DIR")

    device = settings.run_opts.device or infer_device()
    at_once = settings["max_batch_seconds"]
    if torch.device(device).type == "cpu":
        at_once = min(at_once, CPU_SECONDS)

    def load() -> FrozenUpstream:
        upstream = load_upstream(*settings.upstream())
        return upstream.to(device)

    precision = settings.hparams.get("extract_precision", "fp32")
    return extract(
        load,
        FeatureStore(
            settings["cache_folder"],
            info.at_precision(precision),
            settings["cache_dtype"],
        ),
        wavs,
        at_once,
        precision=precision,
        verify=verify,
        progress=not settings.run_opts.noprogressbar,
    )


def clips_of_folds(settings: Settings) -> dict[str, str]:
    """Read the manifests of all folds: id -> audio file, sorted by id.

    Raises
    ------
    InputError
        A manifest is missing or broken.
    """
    wavs = {}
    for fold in range(1, settings["n_folds"] + 1):
        folder = Path(settings["manifest_folder"]) / f"fold_{fold}"
        for split in SPLITS:
            manifest = read_manifest(folder / f"{split}.json", settings["data_folder"])
            wavs.update((key, entry["wav"]) for key, entry in manifest.items())
    return dict(sorted(wavs.items()))
