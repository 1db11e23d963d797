"""Sets of photographs: single ones and input/reference pairs, from files or already in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from relit.data.decoding import UnreadablePhoto, UnusablePhoto, header_size
from relit.data.files import unique_names
from relit.data.left_out import leave_out
from relit.data.photo import resize_photo
from relit.data.reader import PhotoReader
from relit.data.rows import Row
from relit.data.sizes import size_mismatch
from relit.data.threads import in_threads


class Pair(TypedDict):
    """An input photograph and, where there is one, its reference: uint8, shape (3, H, W) both."""

    input: Tensor
    reference: NotRequired[Tensor]
    name: str
    label: NotRequired[str]


class UnequalSizes(UnusablePhoto):
    """An input and a reference that cannot be compared: ``path`` of the input and the ``reason``."""

    says = "{path} cannot be compared ({reason}): replace or remove the pair"


class Photos(Protocol):
    """Photographs by index: uint8 sRGB, shape (3, H, W), and their names."""

    @property
    def names(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


class Pairs(Protocol):
    """Input/reference pairs by index, and their names, which are unique."""

    @property
    def names(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...


class PhotoSet(Dataset[Tensor]):
    """Photographs from files.

    Args:
        paths: the files, as from :func:`~relit.data.files.list_photos`.
        reader: reads one at the size it is wanted.
        keep: whether :meth:`verify` keeps the photographs in memory; needs a reader that makes squares.
        key: the configuration key that the files come from, for messages.
    """

    def __init__(
        self, paths: Sequence[Path], reader: PhotoReader, keep: bool = False, key: str = "photographs"
    ) -> None:
        side = reader.resize.square
        if keep and side is None:
            raise ValueError("only photographs of one size can be kept in memory: make them squares")
        self.paths = list(paths)
        self.reader = reader
        self.key = key
        self._kept = torch.empty(len(paths), 3, side or 0, side or 0, dtype=torch.uint8) if keep else None
        self._verified = False

    @property
    def names(self) -> list[str]:
        """File names without extension; with it where two would be the same."""
        return unique_names(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        if self._kept is not None and self._verified:
            return self._kept[index]
        return self.reader(self.paths[index])

    def verify(self, strict: bool = False) -> None:
        """Read every photograph once, in threads, and leave out those that cannot be read.

        They are counted in one warning; with ``strict``, or when none is left, they are a
        :class:`ConfigurationError`.
        """

        def problem(index: int) -> str | None:
            try:
                photo = self.reader(self.paths[index])
            except UnreadablePhoto as error:
                return f"{error.path.name} ({error.reason})"
            if self._kept is not None:
                self._kept[index] = photo
            return None

        problems = in_threads(problem, range(len(self)))
        readable = [index for index, found in enumerate(problems) if found is None]
        if len(readable) < len(self):
            leave_out(self.key, "cannot be read", [p for p in problems if p], len(self), strict)
            self.paths = [self.paths[index] for index in readable]
            self._kept = self._kept[readable] if self._kept is not None else None
        self._verified = True


class PairSet(Dataset[Pair]):
    """Input photographs with their references, from files.

    Sizes that differ by a pixel or two are mended by resizing the reference.

    Args:
        rows: input, reference (or none) and label of each.
        reader: reads one photograph at the size it is wanted.
        key: the configuration key that the inputs come from, for messages.

    Attributes:
        names: the inputs' file names without extension, longer where two would be the same; an input with
            several references has the folder of each in its names; what is still the same is numbered.
    """

    def __init__(self, rows: Sequence[Row], reader: PhotoReader, key: str = "pairs") -> None:
        self.rows = list(rows)
        self.names = _pair_names(self.rows)
        self.reader = reader
        self.key = key

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pair:
        row = self.rows[index]
        pair = Pair(input=self.reader(row.input), name=self.names[index], label=row.label)
        if row.reference is not None:
            reference = self.reader(row.reference)
            height, width = pair["input"].shape[1:]
            _check_sizes(row.input, (height, width), (reference.shape[1], reference.shape[2]))
            pair["reference"] = resize_photo(reference, (height, width))
        return pair

    def verify(self, strict: bool = False, decode: bool = True, least: int = 1) -> bool:
        """Look at every pair once, in threads, and leave out those that cannot be read or compared.

        Args:
            strict: whether leaving one out is an error.
            least: shortest side, in pixels, of what is compared.
            decode: whether whole photographs are read; otherwise their headers and ends, which takes a
                hundredth of the time and misses damage in between.

        Returns: whether all of them can be used.
        """

        def problem(index: int) -> str | None:
            row = self.rows[index]
            try:
                sizes = [header_size(path) for path in (row.input, row.reference) if path is not None]
                _check_sizes(row.input, sizes[0], sizes[-1])
                if row.reference is not None and min(sizes[0]) < least:
                    height, width = sizes[0]
                    return f"{row.input.name} ({width}x{height} is too small for SSIM's {least}x{least})"
                if decode:
                    self[index]
            except UnusablePhoto as error:
                return f"{error.path.name} ({error.reason})"
            return None

        problems = in_threads(problem, range(len(self)))
        found = [one for one in problems if one]
        leave_out(self.key, "cannot be read or compared", found, len(self), strict)
        self.rows = [row for row, one in zip(self.rows, problems, strict=True) if one is None]
        self.names = _pair_names(self.rows)
        return not found


class MemoryPhotoSet(Dataset[Tensor]):
    """Photographs that are in memory already.

    Args:
        images: uint8, shape (3, H, W) each.
        names: one for each image.
        size: side of the square that they are resized to, once; None keeps their size.
    """

    def __init__(self, images: Iterable[Tensor], names: Sequence[str], size: int | None = None) -> None:
        self.names = list(names)
        self._images = [image if size is None else resize_photo(image, size) for image in images]
        if len(self._images) != len(self.names):
            raise ValueError(f"{len(self._images)} images and {len(self.names)} names")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        return self._images[index]


class MemoryPairSet(Dataset[Pair]):
    """Input/reference pairs that are in memory already; arguments as those of :class:`MemoryPhotoSet`."""

    def __init__(
        self,
        inputs: Iterable[Tensor],
        references: Iterable[Tensor] | None,
        names: Sequence[str],
        size: int | None = None,
    ) -> None:
        self.names = list(names)
        self._inputs = MemoryPhotoSet(inputs, names, size)
        self._references = None if references is None else MemoryPhotoSet(references, names, size)

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> Pair:
        pair = Pair(input=self._inputs[index], name=self.names[index])
        if self._references is not None:
            pair["reference"] = self._references[index]
        return pair


def _pair_names(rows: Sequence[Row]) -> list[str]:
    times = Counter(row.input for row in rows)
    short = dict(zip(times, unique_names(list(times)), strict=True))
    names = [
        short[row.input] + (f" {row.reference.parent.name}" if row.reference and times[row.input] > 1 else "")
        for row in rows
    ]
    again: Counter[str] = Counter()
    for place, name in enumerate(names):
        again[name] += 1
        names[place] += f" {again[name]}" if again[name] > 1 else ""
    return names


def _check_sizes(path: Path, source: tuple[int, int], target: tuple[int, int]) -> None:
    mismatch = size_mismatch(source, target)
    if mismatch is not None:
        raise UnequalSizes(path, mismatch)
