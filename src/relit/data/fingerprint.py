"""Which photographs a run saw: how many, and a digest that another copy of the data set shares or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import singledispatch
from pathlib import Path
from typing import Any

from relit.data.badly_taken import BadlyTakenSet
from relit.data.datamodule import PhotoData
from relit.data.sets import MemoryPairSet, MemoryPhotoSet, PairSet, PhotoSet
from relit.data.validation import Selection, ValidationPhotos

Fingerprint = dict[str, str]
"""``"380 photographs, 9f86d081884c7d65"`` by role: ``train``, ``backlit``, ``test`` ..."""


def fingerprint(data: PhotoData) -> Fingerprint:
    """The photographs of each role of ``data``, after its ``setup``.

    Of files the names, with those of their folders, and the sizes in bytes count, in the order they are used:
    to look at all pixels of a large data set would take hours. Wherever the folders lie, it is the same.
    """
    roles = {role: getattr(data, role) for role in data.contents if role != "as_published"}
    return {role: _described(items) for role, items in roles.items() if items is not None}


def _described(items: Any) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for entry in entries(items):
        digest.update(repr(entry).encode())
    return f"{len(items)} photographs, {digest.hexdigest()}"


@singledispatch
def entries(items: Any) -> Iterator[tuple[str | int, ...]]:
    """What is known of each item of a set: of a set of one's own, the names."""
    for name in items.names:
        yield (name,)


@entries.register
def _(items: PhotoSet) -> Iterator[tuple[str | int, ...]]:
    for path in items.paths:
        yield _file(path)


@entries.register
def _(items: PairSet) -> Iterator[tuple[str | int, ...]]:
    for row in items.rows:
        yield (row.label, *(part for path in row.files for part in _file(path)))


@entries.register
def _(items: Selection) -> Iterator[tuple[str | int, ...]]:
    known = list(entries(items.dataset))
    for index in items.indices:
        yield known[index]


@entries.register
def _(items: BadlyTakenSet) -> Iterator[tuple[str | int, ...]]:
    # what is made of a photograph is in the configuration
    yield from entries(items.photos)


@entries.register
def _(items: ValidationPhotos) -> Iterator[tuple[str | int, ...]]:
    yield from entries(items.inputs)
    if items.well_lit is not None:
        yield from entries(items.well_lit)


@entries.register(MemoryPhotoSet)
@entries.register(MemoryPairSet)
def _(items: MemoryPhotoSet | MemoryPairSet) -> Iterator[tuple[str | int, ...]]:
    # rendered from the package itself: names and sizes tell which
    for index, name in enumerate(items.names):
        item = items[index]
        image = item["input"] if isinstance(item, dict) else item
        yield (name, *image.shape)


def _file(path: Path) -> tuple[str | int, ...]:
    return "/".join(path.parts[-2:]), path.stat().st_size
