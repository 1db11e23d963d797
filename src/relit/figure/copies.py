"""Photographs that are there several times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from torch import Tensor


def fingerprint(picture: Tensor) -> bytes:
    """The same for pictures that are equal in every pixel, and for no others."""
    return hashlib.sha256(picture.cpu().numpy().tobytes()).digest()


def distinct(pictures: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Names and pictures, each picture once: a test set may have several inputs to one reference."""
    seen: set[bytes] = set()
    for name, picture in pictures:
        key = fingerprint(picture)
        if key not in seen:
            seen.add(key)
            yield name, picture
