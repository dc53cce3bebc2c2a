"""Where the layers of a batch come from: the upstream at work, or a feature store.

Both sources add an item to SpeechBrain's datasets, collate items into SpeechBrain's
batches, and give each clip of a batch as (L, T_i, D).
"""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import psutil
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.data.audio import read_audio
from sercorr.errors import InputError
from sercorr.features.entry import BadEntryError
from sercorr.features.extraction import StoredClips, extract
from sercorr.features.plan import length_groups
from sercorr.features.store import AUDIO_VERSION
from sercorr.lengths import absolute_to_relative, relative_to_absolute
from sercorr.lobes.upstream.frozen import FrozenUpstream

logger = logging.getLogger(__name__)

_SHARE_OF_MEMORY = 0.5
"""How much of the free memory ``preload: auto`` takes."""


def open_features(
    upstream: Any,
    clips: Mapping[str, str | os.PathLike],
    *,
    cache_folder: str | os.PathLike | None = None,
    cache_dtype: str = "float16",
    extract_precision: str = "fp32",
    preload: Literal["auto"] | bool = "auto",
    max_batch_seconds: float = 60.0,
    device: str | torch.device = "cpu",
    progress: bool = True,
    verify: bool = False,
) -> "StoredFeatures | LiveFeatures":
    """Open the feature store, extracting first what it lacks, or load the upstream.

    Arguments
    ---------
    upstream : Upstream or FrozenUpstream
        With ``info``, ``frames(samples)`` and ``load(device)``.
    clips : mapping
        Id -> audio file, of the whole corpus.
    cache_folder : path or None
        Holds feature stores; None: compute the layers of each batch.
    cache_dtype : str
        Stored precision: ``float16``, ``bfloat16`` or ``float32``.
    extract_precision : str
        Of the computation: ``fp32``, or ``bf16``, for stored features alone.
    preload : str or bool
        See `StoredFeatures`.
    max_batch_seconds : float
        Most padded seconds of audio that the upstream sees at once.
    device : str or torch.device
        Where the upstream and the training run.
    progress : bool
        Show progress bars.
    verify : bool
        Compare every byte of stored entries with their checksums beforehand.

    Returns
    -------
    StoredFeatures or LiveFeatures
        The source of the batches' layers.

    Raises
    ------
    InputError
        A setting or a file is not usable; see `StoredClips.fill`.

    Example
    -------
    >>> from sercorr.lobes.upstream import load_upstream
    >>> upstream = load_upstream("fbank")
    >>> LiveFeatures(upstream).identity()
    {'kind': 'live', 'audio': 1, 'precision': 'fp32'}
    """
    if cache_folder is None:
        if extract_precision != "fp32":
            raise InputError(
                f"extract_precision is {extract_precision!r}, but features that are "
                "not stored are computed in fp32: add --cache_folder DIR, or "
                "--extract_precision fp32"
            )
        return LiveFeatures(upstream.load(device), max_batch_seconds)
    if preload not in ("auto", True, False):
        raise InputError(f"preload is {preload!r}; it must be auto, True or False")
    stored = extract(
        upstream,
        clips,
        cache_folder=cache_folder,
        cache_dtype=cache_dtype,
        extract_precision=extract_precision,
        max_batch_seconds=max_batch_seconds,
        device=device,
        progress=progress,
        verify=verify,
    )
    return StoredFeatures(stored, clips, preload)


class _Clips(list):
    """Tensors that pass from a loader process as one.

    A mapped file cannot pass to another process. What does is a piece of shared memory,
    which is an open file: one per clip would soon be more than the system permits.
    """

    def __reduce__(self) -> tuple:
        packed = torch.cat([clip.reshape(-1) for clip in self])
        return _unpack, (packed, [clip.shape for clip in self])


def _unpack(packed: torch.Tensor, shapes: list[torch.Size]) -> list[torch.Tensor]:
    pieces = packed.split([shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


class StoredFeatures:
    """The layers of each batch from a feature store.

    An entry that is found damaged (or gone) while it is read is computed again, in
    the training process alone: a loader process passes an empty tensor in its place.

    Arguments
    ---------
    stored : StoredClips
        From `extract`.
    identities : iterable of str
        The clips that will be asked for.
    preload : str or bool
        ``auto``: into memory if the clips take at most half of what is free (a GPU's
        own memory first); True: in any case; False: read them for every batch.

    Attributes
    ----------
    item : str
        Name of the item that datasets get: ``layers``.
    preloaded : bool
        Whether all clips are in memory.
    """

    item = "layers"

    def __init__(
        self,
        stored: StoredClips,
        identities: Iterable[str],
        preload: Literal["auto"] | bool = "auto",
    ):
        self.stored = stored
        self._memory: dict[str, torch.Tensor] = {}
        self._verified: set[str] = set()
        identities = list(identities)
        place = self._place(identities, preload)
        self.preloaded = place is not None
        if place is not None:
            bar = tqdm(
                identities,
                desc="loading features",
                unit="clip",
                dynamic_ncols=True,
                disable=not stored.progress,
            )
            for identity in bar:
                layers = self._fetch(identity)
                self._memory[identity] = (
                    layers.clone() if place.type == "cpu" else layers.to(place)
                )

    def add_to(self, dataset: DynamicItemDataset) -> None:
        """Give the items of a dataset ``layers`` (L, T, D), by their ``id``."""
        dataset.add_dynamic_item(self._item, takes="id", provides=self.item)

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> PaddedBatch:
        """Put items together: nothing is padded, stacked or copied.

        Returns
        -------
        PaddedBatch
            ``id`` and ``target`` are lists, ``layers`` is a list of tensors.
        """
        batch = PaddedBatch(items, padded_keys=[], nonpadded_stack=False)
        batch.layers = _Clips(batch.layers)
        return batch

    def clips(self, batch: PaddedBatch) -> list[torch.Tensor]:
        """Return the layers of a batch: (L, T_i, D) each, in the stored precision."""
        return [
            clip if clip.numel() else self._fetch(identity).to(clip.device)
            for identity, clip in zip(batch.id, batch.layers, strict=True)
        ]

    def workers(self, wanted: int) -> int:
        """Say how many loader processes make sense: none if all is in memory."""
        return 0 if self.preloaded else wanted

    def identity(self) -> dict[str, Any]:
        """Say what decides the numbers beside the upstream and the audio."""
        return {
            "kind": "stored",
            "audio": AUDIO_VERSION,
            "precision": self.stored.precision,
            "dtype": self.stored.store.about["dtype"],
        }

    def _item(self, identity: str) -> torch.Tensor:
        """Give a clip to a dataset, perhaps in a loader process."""
        try:
            return self._read(identity)
        except BadEntryError:
            return torch.empty(0, dtype=self.stored.store.dtype)

    def _fetch(self, identity: str) -> torch.Tensor:
        """Read a clip, or compute it again; in the training process."""
        try:
            return self._read(identity)
        except BadEntryError as fault:
            layers = self.stored.compute_again(identity, fault)
        try:
            return self._read(identity)
        except BadEntryError:  # nothing could be written
            self._memory[identity] = layers
            return layers

    def _read(self, identity: str) -> torch.Tensor:
        if identity in self._memory:
            return self._memory[identity]
        layers = self.stored.read(identity, verify=identity not in self._verified)
        self._verified.add(identity)
        return layers

    def _place(
        self, identities: list[str], preload: Literal["auto"] | bool
    ) -> torch.device | None:
        """Choose where to keep the clips, or None for nowhere."""
        if preload is False:
            return None
        paths = [self.stored.store.path(self.stored.digests[i]) for i in identities]
        needed = sum(path.stat().st_size for path in paths if path.exists())
        device = self.stored.device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if needed <= _SHARE_OF_MEMORY * free:
                return device
        free = psutil.virtual_memory().available
        if preload is True or needed <= _SHARE_OF_MEMORY * free:
            return torch.device("cpu")
        logger.info("features of %.1f GB are streamed from the disk", needed / 1e9)
        return None


class LiveFeatures:
    """The layers of each batch, computed with the upstream.

    The batch is worked through in groups of similar length, capped in seconds, so that
    one long clip does not pad all others. The grouping does not change the layers,
    because the upstream is exact under padding.

    Arguments
    ---------
    upstream : FrozenUpstream
        On the device of the batches.
    max_seconds : float
        Most padded seconds of audio that the upstream sees at once.

    Attributes
    ----------
    item : str
        Name of the item that datasets get: ``sig``.
    preloaded : bool
        False.
    """

    item = "sig"
    preloaded = False

    def __init__(self, upstream: FrozenUpstream, max_seconds: float = 60.0):
        self.upstream = upstream
        self.limit = round(max_seconds * SAMPLE_RATE)

    def add_to(self, dataset: DynamicItemDataset) -> None:
        """Give the items of a dataset ``sig`` (N,), the samples of their ``wav``."""
        dataset.add_dynamic_item(read_audio, takes="wav", provides=self.item)

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> PaddedBatch:
        """Put items together.

        Returns
        -------
        PaddedBatch
            ``id`` and ``target`` are lists, ``sig`` is padded, with its lengths.
        """
        return PaddedBatch(items, padded_keys=["sig"], nonpadded_stack=False)

    def clips(self, batch: PaddedBatch) -> list[torch.Tensor]:
        """Compute the layers of a batch: (L, T_i, D) each, in float32."""
        waves, lengths = batch.sig
        samples = relative_to_absolute(lengths, waves.shape[1])
        clips: list[torch.Tensor] = [waves] * len(samples)  # all are replaced below
        for rows in length_groups(samples.tolist(), self.limit):
            index = torch.tensor(rows, device=waves.device)
            longest = int(samples[index].max())
            layers, relative = self.upstream(
                waves[index, :longest], absolute_to_relative(samples[index], longest)
            )
            frames = relative_to_absolute(relative, layers.shape[2]).tolist()
            for row, clip, count in zip(rows, layers, frames, strict=True):
                clips[row] = clip[:, :count]
        return clips

    def workers(self, wanted: int) -> int:
        """Say how many loader processes make sense: all, they read the audio."""
        return wanted

    def identity(self) -> dict[str, Any]:
        """Say what decides the numbers beside the upstream and the audio."""
        return {"kind": "live", "audio": AUDIO_VERSION, "precision": "fp32"}
