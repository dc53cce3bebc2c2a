"""The order of training clips: full batches, whole passes, any place reachable."""

import threading
from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader

from sercorr.data.batches import ReadingAhead, UpdateSampler


def make(n_items: int = 10, batch_size: int = 4, seed: int = 3) -> UpdateSampler:
    return UpdateSampler(n_items, batch_size, batches_per_epoch=5, seed=seed)


def test_two_passes_hold_every_clip_twice_in_full_batches():
    batches = list(make())
    assert [len(batch) for batch in batches] == [4] * 5
    assert Counter(i for batch in batches for i in batch) == dict.fromkeys(range(10), 2)


def test_any_position_gives_what_an_uninterrupted_run_gives():
    sampler = make()
    whole = []
    for epoch in (1, 2, 3):
        sampler.set_epoch(epoch)
        whole += list(sampler)
    assert whole == [sampler.batch(number) for number in range(15)]
    fresh = make()
    fresh.set_epoch(3)
    fresh.skip(2)
    assert list(fresh) == whole[12:]
    assert list(fresh) == whole[10:]  # only the resumed epoch is shorter


def test_seed_decides_the_order_and_passes_differ():
    assert list(make(seed=3)) == list(make(seed=3))
    assert list(make(seed=3)) != list(make(seed=4))
    sampler = make(n_items=20, batch_size=20)
    first, second = list(sampler)[:2]
    assert first != second
    assert sorted(first) == sorted(second)


def test_fewer_clips_than_a_batch():
    batches = list(make(n_items=3, batch_size=6))
    assert all(Counter(batch) == {0: 2, 1: 2, 2: 2} for batch in batches)


def test_no_clips_at_all():
    with pytest.raises(ValueError, match="the training set is empty"):
        make(n_items=0)


class Clips:
    """Numbers, of which some cannot be read; notes what is read."""

    def __init__(self, unreadable=()):
        self.unreadable = unreadable
        self.started = [threading.Event() for _ in range(10)]
        self.read = []

    def __getitem__(self, index: int) -> int:
        self.started[index].set()
        self.read.append(index)
        if index in self.unreadable:
            raise OSError(f"clip {index}")
        return index


def ahead(clips: Clips) -> ReadingAhead:
    return ReadingAhead(clips, batch_sampler=[[n] for n in range(10)], collate_fn=list)


def test_the_next_batch_and_no_more_is_read_ahead():
    clips = Clips()
    for number, batch in enumerate(ahead(clips)):
        assert batch == [number]
        if number < 9:
            assert clips.started[number + 1].wait(60)
        assert len(clips.read) <= number + 2
    assert clips.read == list(range(10))
    assert len(ahead(Clips())) == 10


def test_reading_ahead_can_be_left_and_begun_again():
    loader, threads = ahead(Clips()), threading.active_count()
    for batch in loader:
        if batch == [4]:
            break
    assert [batch for (batch,) in loader] == list(range(10))
    assert threading.active_count() == threads


def test_what_cannot_be_read_is_said_when_its_batch_is_due():
    batches = iter(ahead(Clips(unreadable=[3])))
    assert [next(batches) for _ in range(3)] == [[0], [1], [2]]
    with pytest.raises(OSError, match="clip 3"):
        next(batches)


def test_reading_ahead_draws_the_random_numbers_of_any_loader():
    states = []
    for kind in (DataLoader, ReadingAhead):
        torch.manual_seed(5)
        assert len(list(kind(range(4), batch_size=2))) == 2
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
