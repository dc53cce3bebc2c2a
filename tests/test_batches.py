"""The order of training clips: full batches, whole passes, any place reachable."""

from collections import Counter

import pytest

from sercorr.data.batches import UpdateSampler


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
