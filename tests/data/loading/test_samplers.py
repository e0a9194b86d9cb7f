"""In which order images come: by seed and epoch, over ranks, and after a resume."""

from __future__ import annotations

import pytest

from pwfn.data.loading.samplers import EachOnce, NumberedShare, ShuffledShare


def test_order_changes_with_epoch_and_seed_and_reproduces() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ShuffledShare(50, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert all(sorted(one) == list(range(50)) for one in orders)
    assert len({tuple(one) for one in orders}) == 9
    assert order(2, 1) == orders[7]


@pytest.mark.parametrize(("share", "used"), [(1.0, 100), (0.05, 5), (0.07, 7), (0.071, 8), (0.001, 1)])
def test_share_is_the_beginning_of_the_whole_order(share: float, used: int) -> None:
    assert list(ShuffledShare(100, 4, share)) == list(ShuffledShare(100, 4))[:used]


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_ranks_share_the_training_images(count: int) -> None:
    ranks = [list(ShuffledShare(count, 0, rank=rank, world_size=2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(ShuffledShare(count, 0, rank=0, world_size=2)) == (count + 1) // 2
    assert set(ranks[0]) | set(ranks[1]) == set(range(count))


def test_a_resumed_epoch_passes_over_what_it_has_seen() -> None:
    whole, resumed = ShuffledShare(20, 1, rank=1, world_size=2), ShuffledShare(20, 1, rank=1, world_size=2)
    resumed.skip(3, 4)
    for epoch, seen in ((3, 4), (4, 0), (2, 0)):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[seen:]
        assert len(resumed) == len(whole) == 10


def test_numbers_name_the_image_and_the_epoch() -> None:
    plain, numbered = ShuffledShare(7, 0), NumberedShare(7, 0)
    for epoch in (0, 2):
        plain.set_epoch(epoch)
        numbered.set_epoch(epoch)
        assert [(number // 7, number % 7) for number in numbered] == [(epoch, index) for index in plain]


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_each_test_image_is_seen_once_over_the_ranks(count: int) -> None:
    ranks = [EachOnce(count, rank, 2) for rank in range(2)]
    assert sorted([*ranks[0], *ranks[1]]) == list(range(count))
    assert sum(map(len, ranks)) == count
