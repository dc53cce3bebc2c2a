"""The order of the training clips: a pure function of seed and update."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class UpdateSampler(Sampler[list[int]]):
    """Batches of a fixed size, drawn from one seeded permutation after the other.

    Batch u holds positions u*B to (u+1)*B - 1 of an endless row of permutations, so
    every batch is full, every clip is seen once a pass, and any update's batch is
    known without drawing those before it: that is what makes a resumed run equal to
    one that was never interrupted.

    Arguments
    ---------
    n_items : int
        Clips in the training set.
    batch_size : int
        B, clips an update.
    updates_per_epoch : int
        Updates between two validations.
    seed : int
        Decides the order.

    Example
    -------
    >>> sampler = UpdateSampler(5, batch_size=2, updates_per_epoch=5, seed=1)
    >>> sorted(item for batch in sampler for item in batch)  # two passes
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """

    def __init__(
        self, n_items: int, batch_size: int, updates_per_epoch: int, seed: int
    ):
        if n_items < 1:
            raise ValueError("the training set is empty")
        self.n_items = n_items
        self.batch_size = batch_size
        self.updates_per_epoch = updates_per_epoch
        self.seed = seed
        self._first = 0
        self._step = 0
        self._passes: dict[int, list[int]] = {}

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Go to a place: epochs count from 1, ``step`` updates of it are done."""
        self._first = (epoch - 1) * self.updates_per_epoch
        self._step = step

    def batch(self, update: int) -> list[int]:
        """The indices of one update, counted from 0."""
        start = update * self.batch_size
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
        """The batches of the epoch from the position on."""
        for step in range(self._step, self.updates_per_epoch):
            yield self.batch(self._first + step)

    def __len__(self) -> int:
        """Updates an epoch."""
        return self.updates_per_epoch


def update_seed(seed: int, number: int) -> int:
    """Mix a run's seed with a running number into a seed of its own.

    Example
    -------
    >>> len({update_seed(seed, number) for seed in range(50) for number in range(50)})
    2500
    """
    # splitmix64: neighbouring inputs give unrelated outputs
    mask = (1 << 64) - 1
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return (mixed ^ (mixed >> 31)) >> 1
