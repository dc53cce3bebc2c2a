"""The layers of each batch from a feature store: mapped, in memory, and mended."""

import copy
import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from tqdm import tqdm

from sercorr.data.audio import Part
from sercorr.data.digests import RECORD, as_parts, hash_clips, write_record
from sercorr.errors import InputError
from sercorr.features.compute import compute_group, read_group
from sercorr.features.entry import BadEntryError
from sercorr.features.memory import free_memory
from sercorr.features.plan import Clip, plan_groups
from sercorr.features.store import FeatureStore
from sercorr.lobes.upstream.frozen import FrozenUpstream
from sercorr.threads import use_threads

logger = logging.getLogger(__name__)

_SHARE_OF_MEMORY = 0.5
"""How much of the free memory ``preload: auto`` takes."""


class _Clips(list):
    """Tensors that pass from a loader process as one.

    What passes is a piece of shared memory, which is an open file: one per clip would
    soon be more than the system permits.
    """

    def __reduce__(self) -> tuple:
        packed = torch.cat([clip.reshape(-1) for clip in self])
        return _unpack, (packed, [clip.shape for clip in self])


def _unpack(packed: torch.Tensor, shapes: list[torch.Size]) -> list[torch.Tensor]:
    pieces = packed.split([shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def load_at(
    upstream: Any, device: str | torch.device, precision: str
) -> FrozenUpstream:
    """Load an upstream on a device, at ``fp32`` or ``bf16``."""
    loaded = upstream.load(device)
    if precision == "fp32":
        return loaded
    return copy.deepcopy(loaded).use_bfloat16()  # others may use the original


class StoredFeatures:
    """The features of a corpus in a store; `sercorr.features.extract` fills it.

    An entry that is found damaged (or gone) while it is read is computed again, in
    the training process alone: a loader process passes an empty tensor in its place.

    Arguments are those of `sercorr.features.open_features`, and the ``store``.
    ``digests`` (see `clip_digest`) name the entries, by id.
    """

    item = "layers"

    def __init__(
        self,
        upstream: Any,
        clips: Mapping[str, str | os.PathLike | Part],
        store: FeatureStore,
        extract_precision: str,
        max_batch_seconds: float,
        device: str | torch.device,
        progress: bool,
    ):
        self.store, self.device, self.progress = store, torch.device(device), progress
        self._parts = as_parts(clips)
        self._record = store.folder.parent / RECORD
        self.digests = hash_clips(self._parts, progress, self._record)
        self.preloaded = False
        self._upstream = upstream
        self._precision, self._max_seconds = extract_precision, max_batch_seconds
        self._memory: dict[str, torch.Tensor] = {}
        self._verified: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_upstream": None}  # loader processes only read

    def record_digests(self) -> None:
        """Leave the clips' digests to other processes, see `write_record`."""
        write_record(self._record, self._parts)

    def groups(self) -> list[list[Clip]]:
        """Plan which clips are computed together."""
        return plan_groups(self.digests, self._parts, self._max_seconds)

    def load_upstream(self) -> FrozenUpstream:
        """Load the upstream at the precision of the extraction."""
        return load_at(self._upstream, self.device, self._precision)

    def read(self, identity: str) -> torch.Tensor:
        """Read a clip's layers (L + 1, T, D); every byte is checked at first.

        `BadEntryError` as in `FeatureStore.read`.
        """
        if identity not in self._memory:
            verify = identity not in self._verified
            layers = self.store.read(self.digests[identity], verify)
            self._verified.add(identity)
            return layers
        return self._memory[identity]

    def preload(self, how: Literal["auto"] | bool = "auto", processes: int = 1) -> None:
        """Read all clips into memory.

        ``auto``: if they take at most half of what is free (a GPU's own memory first),
        or that divided by the number of ``processes`` which do the same beside this
        one; True: in any case; False: not at all.
        """
        if how is False:
            return
        paths = [self.store.path(digest) for digest in self.digests.values()]
        needed = sum(path.stat().st_size for path in paths if path.exists())
        share = _SHARE_OF_MEMORY / processes
        on_gpu = self.device.type == "cuda" and (
            needed <= share * torch.cuda.mem_get_info(self.device)[0]
        )
        if how == "auto" and not on_gpu and needed > share * free_memory():
            logger.info("features of %.1f GB are streamed from the disk", needed / 1e9)
            return
        off = not self.progress
        for identity in tqdm(self.digests, "loading features", disable=off):
            layers = self._read_or_mend(identity)
            self._memory[identity] = layers.to(self.device) if on_gpu else layers
        self.preloaded = True

    def add_to(self, dataset: DynamicItemDataset) -> None:
        """Give the items of a dataset ``layers`` (L, T, D), by their ``id``."""
        dataset.add_dynamic_item(self._read_or_pass, takes="id", provides=self.item)

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> PaddedBatch:
        """Put items together as lists: nothing is padded, stacked or copied."""
        batch = PaddedBatch(items, padded_keys=[], nonpadded_stack=False)
        batch.layers = _Clips(batch.layers)
        return batch

    def clips(self, batch: PaddedBatch) -> list[torch.Tensor]:
        """Return the layers of a batch: (L, T_i, D) each, in the stored precision."""
        return [
            clip if clip.numel() else self._read_or_mend(identity).to(clip.device)
            for identity, clip in zip(batch.id, batch.layers, strict=True)
        ]

    def workers(self, wanted: int) -> int:
        """Say how many loader processes make sense: none if all is in memory."""
        return 0 if self.preloaded else wanted

    def _read_or_pass(self, identity: str) -> torch.Tensor:
        """Give a clip to a dataset, perhaps in a loader process."""
        try:
            return self.read(identity)
        except BadEntryError:
            return torch.empty(0, dtype=self.store.dtype)

    def _read_or_mend(self, identity: str) -> torch.Tensor:
        """Read a clip, or compute it again and write it anew, with the same bytes.

        It does not touch torch's random numbers. Where nothing can be written, the
        clip is kept in memory.
        """
        try:
            return self.read(identity)
        except BadEntryError as error:
            fault, reason = error.args
        digest = self.digests[identity]
        group = next(g for g in self.groups() if any(c.digest == digest for c in g))
        threads = self.store.threads or torch.get_num_threads()
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(gpus), use_threads(threads):
            upstream, waves = self.load_upstream(), read_group(group)
            computed = compute_group(upstream, group, waves, self.store.dtype)
        own = next(entry for entry in computed if entry.clip.digest == digest)
        own.require_finite()
        layers = own.stored.to("cpu")
        try:
            self.store.write(digest, layers, own.clip.samples)
            done = "computed again from"
        except (InputError, OSError):
            self._memory[identity] = layers
            done = "nothing can be written there; computed in memory from"
        logger.warning("%s: %s; %s %s", fault, reason, done, own.clip.part)
        return layers
