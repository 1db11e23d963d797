"""Positions: the order of a run does not depend on the number of processes or on interruptions."""

from __future__ import annotations

from itertools import islice

import pytest
from torch.utils.data import DataLoader

from relit.data.sampling import PositionSampler, permuted_index


def take(sampler: PositionSampler, steps: int) -> list[list[int]]:
    return list(islice(sampler, steps))


def test_two_processes_see_what_one_with_twice_the_batch_sees() -> None:
    one = take(PositionSampler(8), 5)
    ranks = [take(PositionSampler(4, rank=rank, world_size=2), 5) for rank in range(2)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == one


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (2, 3)])
def test_resuming_gives_the_tail_of_the_uninterrupted_sequence(rank: int, world_size: int) -> None:
    whole = take(PositionSampler(3, rank=rank, world_size=world_size), 9)
    assert take(PositionSampler(3, start_step=4, rank=rank, world_size=world_size), 5) == whole[4:]


def test_positions_are_counted_without_gaps() -> None:
    assert [p for batch in take(PositionSampler(5), 4) for p in batch] == list(range(20))


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    epochs = [[permuted_index(e * 50 + p, 50, 7, "backlit") for p in range(50)] for e in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_order_is_a_function_of_the_key_alone() -> None:
    def order(*key: int | str) -> list[int]:
        return [permuted_index(p, 40, *key) for p in range(40)]

    first = order(1, "backlit")
    assert order(1, "well_lit") != first
    assert order(2, "backlit") != first
    assert [permuted_index(p, 40, 1, "backlit") for p in reversed(range(40))] == first[::-1]


def test_a_single_photograph_stands_everywhere() -> None:
    assert {permuted_index(p, 1, 0) for p in range(9)} == {0}


def test_impossible_arguments() -> None:
    for position, n in ((-1, 4), (0, 0)):
        with pytest.raises(ValueError, match="position"):
            permuted_index(position, n)
    with pytest.raises(ValueError, match="rank"):
        PositionSampler(4, rank=2, world_size=2)


def test_a_loader_over_it_has_no_length() -> None:
    loader: DataLoader[int] = DataLoader(range(10**9), batch_sampler=PositionSampler(2))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        len(loader)
    assert [batch.tolist() for batch in islice(loader, 2)] == [[0, 1], [2, 3]]
