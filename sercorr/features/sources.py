"""Where the layers of a batch come from: the upstream at work, or a feature store.

Both sources add an item to SpeechBrain's datasets, collate items into SpeechBrain's
batches, and give each clip of a batch as (L, T_i, D).
"""

import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset

from sercorr import SAMPLE_RATE
from sercorr.data.audio import Part, read_audio
from sercorr.errors import InputError
from sercorr.features.compute import compute_layers
from sercorr.features.extraction import extract
from sercorr.features.plan import length_groups
from sercorr.features.stored import StoredFeatures
from sercorr.lengths import relative_to_absolute
from sercorr.lobes.upstream.frozen import FrozenUpstream


def open_features(
    upstream: Any,
    clips: Mapping[str, str | os.PathLike | Part],
    *,
    cache_folder: str | os.PathLike | None = None,
    cache_dtype: str = "float16",
    extract_precision: str = "fp32",
    preload: Literal["auto"] | bool = "auto",
    max_batch_seconds: float = 60.0,
    threads: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
    verify: bool = False,
    processes: int = 1,
) -> "StoredFeatures | LiveFeatures":
    """Open the feature store, extracting first what it lacks, or load the upstream.

    Arguments
    ---------
    upstream : Upstream or FrozenUpstream
        With ``info``, ``frames(samples)`` and ``load(device)``, which is called only
        if something is to be computed.
    clips : mapping
        Id -> audio file, or part of one, of the whole corpus: clips are grouped over
        all of them.
    cache_folder : path or None
        Holds feature stores; None: compute the layers of each batch.
    cache_dtype : str
        Stored precision: ``float16``, ``bfloat16`` or ``float32``.
    extract_precision : str
        Of the computation: ``fp32``, or ``bf16`` (matrix products in bfloat16), for
        stored features alone.
    preload : str or bool
        See `StoredFeatures.preload`.
    max_batch_seconds : float
        Most padded seconds of audio that the upstream sees at once.
    threads : int or None
        Of the extraction on a CPU, where the store does not say with how many it was
        begun; None: as many as torch has.
    device : str or torch.device
        Where the upstream and the training run.
    progress : bool
        Show progress bars.
    verify : bool
        Compare every byte of stored entries with their checksums beforehand; their
        sizes and headers are checked in any case.
    processes : int
        That will each keep features in memory on this machine, see
        `StoredFeatures.preload`.

    Raises
    ------
    InputError
        A setting or a file is not usable; see `extract`.
    """
    require_precision(extract_precision, cache_folder)
    if cache_folder is None:
        return LiveFeatures(upstream.load(device), max_batch_seconds)
    if preload not in ("auto", True, False):
        raise InputError(f"preload is {preload!r}; it must be auto, True or False")
    features = extract(
        upstream,
        clips,
        cache_folder=cache_folder,
        cache_dtype=cache_dtype,
        extract_precision=extract_precision,
        max_batch_seconds=max_batch_seconds,
        threads=threads,
        device=device,
        progress=progress,
        verify=verify,
    )
    features.preload(preload, processes)
    return features


def require_precision(
    extract_precision: str, cache_folder: str | os.PathLike | None
) -> None:
    """Refuse a precision that is for stored features where none are stored."""
    if cache_folder is None and extract_precision != "fp32":
        raise InputError(
            f"extract_precision is {extract_precision!r}, but features that are not "
            "stored are computed in fp32: add --cache_folder DIR, or "
            "--extract_precision fp32"
        )


class LiveFeatures:
    """The layers of each batch, computed with the upstream.

    The batch is worked through in groups of similar length, capped in seconds, so that
    one long clip does not pad all others. The grouping does not change the layers,
    because the upstream is exact under padding.

    Of the upstream, on the device of the batches, and ``max_seconds`` see
    `open_features`.
    """

    item = "sig"
    preloaded = False

    def __init__(self, upstream: FrozenUpstream, max_seconds: float = 60.0):
        self.upstream = upstream
        self.limit = round(max_seconds * SAMPLE_RATE)

    def add_to(self, dataset: DynamicItemDataset) -> None:
        """Give the items of a dataset ``sig`` (N,), their samples.

        Items have ``wav``, the file, and ``start`` and ``end`` of the clip in it.
        """
        takes = ["wav", "start", "end"]
        dataset.add_dynamic_item(read_audio, takes=takes, provides=self.item)

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> PaddedBatch:
        """Put items together: ``sig`` is padded, all else is in lists."""
        return PaddedBatch(items, padded_keys=["sig"], nonpadded_stack=False)

    def clips(self, batch: PaddedBatch) -> list[torch.Tensor]:
        """Compute the layers of a batch: (L, T_i, D) each, in float32."""
        waves, lengths = batch.sig
        samples = relative_to_absolute(lengths, waves.shape[1]).tolist()
        clips: list[torch.Tensor] = [waves] * len(samples)  # all are replaced below
        for rows in length_groups(samples, self.limit):
            own = [waves[row, : samples[row]] for row in rows]
            names = [batch.id[row] for row in rows]
            layers = compute_layers(self.upstream, own, names)
            for row, clip in zip(rows, layers, strict=True):
                clips[row] = clip[:, : self.upstream.frames(samples[row])]
        return clips

    def workers(self, wanted: int) -> int:
        """Say how many loader processes make sense: all, they read the audio."""
        return wanted
