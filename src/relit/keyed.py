"""Random numbers that are a function of a key.

Every draw in training (augmentation, noise, shuffling, initial weights) comes from a generator seeded by a
key such as ``(seed, "augmentation", position)``. So a resumed run draws what the uninterrupted one would have
drawn, and one process with a batch of 2B sees the same as two processes with a batch of B.
"""

from __future__ import annotations

import hashlib

import torch


def keyed_seed(*key: int | str) -> int:
    """Hash ``key`` to a seed in [0, 2**63): the same on every machine and with every Python version."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def keyed_generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by :func:`keyed_seed` of ``key``."""
    return torch.Generator().manual_seed(keyed_seed(*key))
