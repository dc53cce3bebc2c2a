"""The upstream at work on a batch, a few clips of similar length at a time."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset

from sercorr import SAMPLE_RATE
from sercorr.data.manifests import Manifest, make_dataset
from sercorr.lengths import absolute_to_relative, relative_to_absolute


class FeatureSource(Protocol):
    """Gives datasets, batches, and the layers of a batch's clips."""

    def dataset(self, manifest: Manifest, labels: Sequence[str]) -> DynamicItemDataset:
        """Make the dataset of a split."""
        ...

    def collate(self, items: list[dict[str, Any]]) -> Any:
        """Make a batch of items: it has ``id`` and ``target``, and ``to(device)``."""
        ...

    def workers(self, wanted: int) -> int:
        """Say how many loader processes make sense."""
        ...

    def clips(self, batch: Any) -> list[torch.Tensor]:
        """Return one (L, T_i, D) a clip, in the batch's order."""
        ...


def length_groups(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Put clips of similar length together, padded size under a limit.

    Arguments
    ---------
    lengths : sequence of int
        Samples (or frames) a clip.
    limit : int
        Most samples of a padded group; a longer clip gets a group of its own.

    Returns
    -------
    list of list of int
        Indices into ``lengths``, longest first.

    Example
    -------
    >>> length_groups([5, 1, 4, 2], limit=10)
    [[0, 2], [3, 1]]
    """
    groups: list[list[int]] = []
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


class LiveFeatures:
    """Compute the layers of each batch with the upstream.

    The batch is worked through in groups of similar length, capped in seconds: a
    single long clip then pads nobody and exhausts no memory. The grouping does not
    change the layers, because the upstream is exact under padding.

    Arguments
    ---------
    upstream : torch.nn.Module
        From `load_upstream`.
    max_seconds : float
        Most padded seconds of audio the upstream sees at once.
    """

    def __init__(self, upstream: torch.nn.Module, max_seconds: float = 60.0):
        self.upstream = upstream
        self.limit = round(max_seconds * SAMPLE_RATE)

    def dataset(self, manifest: Manifest, labels: Sequence[str]) -> DynamicItemDataset:
        """Make a dataset whose items hold their waveforms."""
        return make_dataset(manifest, labels)

    def collate(self, items: list[dict[str, Any]]) -> PaddedBatch:
        """Pad the waveforms of items."""
        return PaddedBatch(items)

    def workers(self, wanted: int) -> int:
        """As many as wanted: they read the audio."""
        return wanted

    def clips(self, batch: PaddedBatch) -> list[torch.Tensor]:
        """Compute the layers of a batch that has ``sig``: (L, T_i, D) a clip."""
        waves, lengths = batch.sig
        samples = relative_to_absolute(lengths, waves.shape[1])
        clips: list[torch.Tensor | None] = [None] * len(samples)
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
