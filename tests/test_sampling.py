"""The order of training clips: full batches, whole passes, any place reachable."""

from collections import Counter

from sercorr.data.sampling import UpdateSampler


def make(n_items: int = 10, batch_size: int = 4, seed: int = 3) -> UpdateSampler:
    return UpdateSampler(n_items, batch_size, updates_per_epoch=5, seed=seed)


def test_two_passes_hold_every_clip_twice_in_full_batches():
    batches = list(make())
    assert [len(batch) for batch in batches] == [4] * 5
    assert Counter(i for batch in batches for i in batch) == dict.fromkeys(range(10), 2)


def test_any_position_gives_what_an_uninterrupted_run_gives():
    sampler = make()
    whole = []
    for epoch in (1, 2, 3):
        sampler.set_position(epoch)
        whole += list(sampler)
    fresh = make()
    fresh.set_position(3, 2)
    assert list(fresh) == whole[12:]
    fresh.set_position(1, 4)
    assert list(fresh) == whole[4:5]


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
