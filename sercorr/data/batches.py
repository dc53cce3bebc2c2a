"""Batches and their order: a pure function of the seed and the update's number."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import DataLoader, Sampler

from sercorr.data.vote_shares import target_shares


class UpdateSampler(Sampler[list[int]]):
    """Batches of a fixed size, drawn from one seeded permutation after the other.

    Batch u holds positions u*B to (u+1)*B - 1 of an endless row of permutations, so
    every batch is full, every clip is seen once per pass, and any batch is known
    without drawing those before it: that is what makes a resumed run equal to one that
    was never interrupted.

    SpeechBrain's Brain calls `set_epoch` before each epoch, and `EmotionBrain` calls
    `skip` once where it resumes within one.

    Arguments
    ---------
    n_items : int
        Clips in the training set.
    batch_size : int
        B, clips per batch.
    batches_per_epoch : int
        Batches between two validations.
    seed : int
        Decides the order.

    Example
    -------
    >>> sampler = UpdateSampler(5, batch_size=2, batches_per_epoch=5, seed=1)
    >>> sorted(item for batch in sampler for item in batch)  # two passes
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """

    def __init__(
        self, n_items: int, batch_size: int, batches_per_epoch: int, seed: int
    ):
        if n_items < 1:
            raise ValueError("the training set is empty")
        self.n_items = n_items
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.seed = seed
        self._epoch = 1
        self._skipped = 0
        self._passes: dict[int, list[int]] = {}

    @property
    def first_batch(self) -> int:
        """Number of the epoch's first batch, counted from 0 over the whole run."""
        return (self._epoch - 1) * self.batches_per_epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, counted from 1."""
        self._epoch = epoch

    def skip(self, batches: int) -> None:
        """Leave out the first batches of the next epoch that is drawn."""
        self._skipped = batches

    def batch(self, number: int) -> list[int]:
        """Return the indices of one batch, counted from 0 over the whole run."""
        start = number * self.batch_size
        positions = range(start, start + self.batch_size)
        return [
            self._permutation(p // self.n_items)[p % self.n_items] for p in positions
        ]

    def _permutation(self, number: int) -> list[int]:
        if number not in self._passes:
            generator = torch.Generator().manual_seed(update_seed(self.seed, number))
            order = torch.randperm(self.n_items, generator=generator).tolist()
            kept = {key: self._passes[key] for key in self._passes if key >= number - 1}
            self._passes = {**kept, number: order}
        return self._passes[number]

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the epoch, without those that are skipped."""
        first, self._skipped = self._skipped, 0
        for step in range(first, self.batches_per_epoch):
            yield self.batch(self.first_batch + step)

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.batches_per_epoch


class ReadingAhead(DataLoader):
    """A loader of which a thread reads the next batch while one is worked on.

    A loader process does so, too, but passes what it has read through shared memory:
    one more copy, and more memory.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches in their order."""
        batches = super().__iter__()
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(next, batches, None)
            while (batch := ahead.result()) is not None:
                ahead = pool.submit(next, batches, None)
                yield batch


def update_seed(seed: int, number: int) -> int:
    """Mix a run's seed with a running number into a seed of its own.

    Steele, Lea and Flood's SplitMix64: neighbouring inputs give unrelated outputs.
    (`numpy.random.SeedSequence` would do as well, but give other numbers.)

    Example
    -------
    >>> len({update_seed(seed, number) for seed in range(50) for number in range(50)})
    2500
    """
    mask = (1 << 64) - 1
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return (mixed ^ (mixed >> 31)) >> 1


def make_dataset(
    manifest: Mapping[str, Mapping[str, Any]],
    labels: Sequence[str],
    features: Any,
) -> DynamicItemDataset:
    """Make the dataset of a split: items have ``id``, targets and their features.

    ``target`` is the class's number, ``soft_target`` the raters' votes as shares of
    the K classes, see `sercorr.data.vote_shares.target_shares`.

    ``manifest`` is one of `sercorr.data.manifests.read_splits`, the order of ``labels``
    that of the classes, and ``features`` (`sercorr.features.open_features`) add
    ``layers`` (stored) or ``sig`` (waveforms, for an upstream at work).
    """
    order = {label: index for index, label in enumerate(labels)}
    # the whole file is the clip, and nobody has voted, unless the manifest says else
    absent = {"start": 0.0, "end": None, "vote_counts": None}
    dataset = DynamicItemDataset({key: {**absent, **manifest[key]} for key in manifest})
    dataset.add_dynamic_item(order.__getitem__, takes="emo", provides="target")
    dataset.add_dynamic_item(
        partial(target_shares, labels=list(labels)),
        takes=["emo", "vote_counts"],
        provides="soft_target",
    )
    features.add_to(dataset)
    dataset.set_output_keys(["id", "target", "soft_target", features.item])
    return dataset


def make_loaders(
    splits: Mapping[str, Mapping[str, Mapping[str, Any]]],
    labels: Sequence[str],
    features: Any,
    *,
    batch_size: int,
    batches_per_epoch: int,
    seed: int,
    num_workers: int = 0,
) -> dict[str, DataLoader]:
    """Make the loaders of a fold: name of the split -> loader.

    Training clips come in the order of an `UpdateSampler`, which ``batch_size``,
    ``batches_per_epoch`` and ``seed`` decide; the others are sorted by duration, which
    wastes least on padding. ``num_workers`` loader processes are started where there
    is something to read; with 0 of them, a thread reads ahead.
    """
    loaders = {}
    for name, manifest in splits.items():
        if name == "train":
            dataset = make_dataset(manifest, labels, features)
            order: dict[str, Any] = {
                "batch_sampler": UpdateSampler(
                    len(manifest), batch_size, batches_per_epoch, seed
                )
            }
        else:
            by_duration = sorted(manifest, key=lambda key: manifest[key]["duration"])
            sorted_manifest = {key: manifest[key] for key in by_duration}
            dataset = make_dataset(sorted_manifest, labels, features)
            order = {"batch_size": batch_size}
        workers = features.workers(num_workers)
        in_thread = not workers and not features.preloaded
        loaders[name] = (ReadingAhead if in_thread else DataLoader)(
            dataset,
            collate_fn=features.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            **order,
        )
    return loaders
