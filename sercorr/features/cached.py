"""Training features read from a cache: from memory where they fit, else streamed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import get_worker_info
from tqdm import tqdm

from sercorr.data.manifests import Manifest, make_label_dataset
from sercorr.errors import InputError
from sercorr.features.extraction import CachedClips

logger = logging.getLogger(__name__)

_SHARE_OF_MEMORY = 0.5
"""How much of the free memory ``preload: auto`` takes."""


@dataclass(frozen=True)
class FeatureBatch:
    """A batch of clips by id, with their layers if these were streamed.

    Attributes
    ----------
    id : list of str
        The clips.
    target : torch.Tensor
        (B,), int64: their classes.
    packed : torch.Tensor or None
        From a worker: all layers in one row, clip after clip; one tensor is what
        passes to the training process without being copied.
    shapes : list of tuple
        (L, T_i, D) a clip of ``packed``.
    mapped : list of torch.Tensor
        From the training process itself: (L, T_i, D) a clip, still to be read.
    """

    id: list[str]
    target: torch.Tensor
    packed: torch.Tensor | None = None
    shapes: Sequence[tuple[int, int, int]] = ()
    mapped: Sequence[torch.Tensor] = ()

    def to(self, device: str | torch.device) -> "FeatureBatch":
        """Move the tensors to a device."""
        return replace(
            self,
            target=self.target.to(device),
            packed=None if self.packed is None else self.packed.to(device),
            mapped=[clip.to(device) for clip in self.mapped],
        )

    def clips(self) -> list[torch.Tensor]:
        """The streamed layers, (L, T_i, D) a clip."""
        if self.packed is None:
            return list(self.mapped)
        sizes = [layers * frames * size for layers, frames, size in self.shapes]
        pieces = self.packed.split(sizes)
        return [p.view(s) for p, s in zip(pieces, self.shapes, strict=True)]


class CachedFeatures:
    """Give the layers of each batch from a feature cache.

    Arguments
    ---------
    cached : CachedClips
        From `ensure_cached`.
    identities : sequence of str
        The clips that will be asked for.
    device : str
        Where training runs.
    preload : str or bool
        ``auto``: into memory if the clips take at most half of what is free (a GPU's
        own memory first); True: in any case; False: read them for every batch.
    progress : bool
        Show a progress bar while preloading.
    """

    def __init__(
        self,
        cached: CachedClips,
        identities: Sequence[str],
        device: str = "cpu",
        preload: Literal["auto"] | bool = "auto",
        progress: bool = True,
    ):
        if preload not in ("auto", True, False):
            raise InputError(f"preload is {preload!r}; it must be auto, True or False")
        self.cached = cached
        self._verified: set[str] = set()
        self._memory: dict[str, torch.Tensor] | None = None
        place = _place(cached, identities, device, preload)
        if place is not None:
            bar = tqdm(
                identities,
                desc="loading features",
                unit="clip",
                dynamic_ncols=True,
                disable=not progress,
            )
            self._memory = {i: _own(self._read(i), place) for i in bar}

    @property
    def preloaded(self) -> bool:
        """Whether all clips are in memory."""
        return self._memory is not None

    def dataset(self, manifest: Manifest, labels: Sequence[str]) -> DynamicItemDataset:
        """Make the dataset of a split; `collate` makes batches of its items."""
        dataset = make_label_dataset(manifest, labels)
        if not self.preloaded:
            dataset.add_dynamic_item(self._read, takes="id", provides="layers")
            dataset.set_output_keys(["id", "target", "layers"])
        return dataset

    def collate(self, items: list[dict[str, Any]]) -> FeatureBatch:
        """Put items together; in a worker, the layers one after the other."""
        identities = [item["id"] for item in items]
        targets = torch.tensor([item["target"] for item in items])
        if self.preloaded:
            return FeatureBatch(identities, targets)
        clips = [item["layers"] for item in items]
        if get_worker_info() is None:
            return FeatureBatch(identities, targets, mapped=clips)
        packed = torch.cat([clip.reshape(-1) for clip in clips])
        return FeatureBatch(
            identities, targets, packed, [tuple(c.shape) for c in clips]
        )

    def workers(self, wanted: int) -> int:
        """Loader processes: none where there is nothing to read."""
        return 0 if self.preloaded else wanted

    def clips(self, batch: FeatureBatch) -> list[torch.Tensor]:
        """Return the layers of a batch: (L, T_i, D) a clip, in the stored precision."""
        if self._memory is None:
            return batch.clips()
        device = batch.target.device
        return [self._memory[identity].to(device) for identity in batch.id]

    def _read(self, identity: str) -> torch.Tensor:
        layers = self.cached.read(identity, verify=identity not in self._verified)
        self._verified.add(identity)
        return layers


def _own(layers: torch.Tensor, place: torch.device) -> torch.Tensor:
    """Copy mapped layers into memory of their own."""
    return layers.clone() if place.type == "cpu" else layers.to(place)


def _place(
    cached: CachedClips,
    identities: Sequence[str],
    device: str,
    preload: Literal["auto"] | bool,
) -> torch.device | None:
    """Choose where to keep the clips, or None for nowhere."""
    if preload is False:
        return None
    needed = sum(cached.store.entry_bytes(cached.shape(i)[1]) for i in identities)
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        if needed <= _SHARE_OF_MEMORY * free:
            return torch.device(device)
    if preload is True or needed <= _SHARE_OF_MEMORY * available_memory():
        return torch.device("cpu")
    logger.info("features of %.1f GB are streamed from the disk", needed / 1e9)
    return None


def available_memory() -> int:
    """Bytes of memory that can be taken without swapping; 0 where nothing tells.

    Source: ``MemAvailable`` of Linux's ``/proc/meminfo``.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0
