"""Which photograph stands at which position of a training run.

A training batch is described by *positions*: slot ``s`` of step ``t`` has position ``t * global_batch + s``.
Everything that is random about a sample is a function of its position, so one process with a batch of 2B and
two processes with a batch of B see the same samples in the same step, and a run that resumes at step ``t``
sees what the uninterrupted run would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch.utils.data import Sampler

from relit.keyed import keyed_generator


def permuted_index(position: int, n: int, *key: int | str) -> int:
    """The index in [0, n) at ``position``: each epoch of ``n`` positions is its own permutation.

    Args:
        position: place in the run, at least 0; ``position // n`` is the epoch.
        n: number of photographs, at least 1.
        key: what the order depends on besides the epoch, such as ``(seed, "backlit")``.
    """
    if position < 0 or n < 1:
        raise ValueError(f"position must be at least 0 and n at least 1, got {position} and {n}")
    epoch, place = divmod(position, n)
    return _permutation(n, *key, epoch)[place]


@lru_cache(maxsize=16)
def _permutation(n: int, *key: int | str) -> list[int]:
    return torch.randperm(n, generator=keyed_generator(*key)).tolist()


class PositionSampler(Sampler[list[int]]):
    """Batches of positions without end: a stage ends by its number of steps, so there is no ``__len__``.

    Step ``t`` covers the positions ``[t * G, (t + 1) * G)`` with G = ``batch_size * world_size``; rank r
    takes the r-th contiguous block of ``batch_size``. Each iteration starts anew at ``start_step``.

    Args:
        batch_size: samples per process and step.
        start_step: first step, 0 or the number of steps already trained.
        rank: this process.
        world_size: number of processes.
    """

    def __init__(self, batch_size: int, start_step: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or start_step < 0 or not 0 <= rank < world_size:
            raise ValueError(
                "batch_size must be at least 1, start_step at least 0 and rank in [0, world_size), "
                f"got {batch_size}, {start_step} and {rank} of {world_size}"
            )
        self.batch_size = batch_size
        self.start_step = start_step
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[int]]:
        global_batch = self.batch_size * self.world_size
        first = self.start_step * global_batch + self.rank * self.batch_size
        while True:
            yield list(range(first, first + self.batch_size))
            first += global_batch
