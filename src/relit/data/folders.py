"""Sets of photographs: single ones and input/reference pairs, from folders or already in memory."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from relit.data.photo import UnreadablePhoto, read_photo, resize_photo
from relit.errors import ConfigurationError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Some published references are a pixel shorter or wider than their input.
SIZE_TOLERANCE = 2


class Pair(TypedDict):
    """An input photograph and, where there is one, its reference: uint8, shape (3, H, W) both."""

    input: Tensor
    reference: NotRequired[Tensor]
    name: str


class UnequalSizes(ConfigurationError):  # noqa: N818 (says what is wrong, not that something is)
    """An input and a reference that cannot be compared: ``path`` of the input and the ``reason``."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} cannot be compared ({self.reason}): replace or remove the pair"


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


def list_photos(folder: Path | str | None, key: str) -> list[Path]:
    """The photographs directly in ``folder``, sorted by name; extensions in either case, no hidden files.

    Args:
        folder: the folder; None means that it was not set.
        key: the configuration key that the folder comes from, for the error message (``data.backlit``).

    Raises: :class:`ConfigurationError` when the folder is not set, missing or without photographs.
    """
    if not folder:
        raise ConfigurationError(f"{key} is not set: name a folder of photographs with {key}=DIR")
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigurationError(
            f"{key}: {folder} {what} (looked for {folder.absolute()}): "
            f"name a folder of photographs with {key}=DIR"
        )
    paths = [path for path in folder.iterdir() if _is_photo(path)]
    if not paths:
        raise ConfigurationError(
            f"{key}: no photographs in {folder} (looked for {' '.join(EXTENSIONS)}, not in sub-folders): "
            f"name the folder that holds them with {key}=DIR"
        )
    return sorted(paths, key=lambda path: path.name)


class PhotoSet(Dataset[Tensor]):
    """Photographs from files, each resized to a square or left at its size.

    Args:
        paths: the files, as from :func:`list_photos`.
        size: side of the square in pixels; None keeps each photograph's own size.
        cache: whether :meth:`verify` keeps the resized photographs in memory (3 * size * size bytes each);
            needs ``size``.
        key: the configuration key that the files come from, for messages.
    """

    def __init__(
        self, paths: Sequence[Path], size: int | None = None, cache: bool = False, key: str = "photographs"
    ) -> None:
        if cache and size is None:
            raise ValueError("only photographs of one size can be cached: give a size")
        self.paths = list(paths)
        self.size = size
        self.key = key
        self._cache = torch.empty(len(paths), 3, size or 0, size or 0, dtype=torch.uint8) if cache else None
        self._verified = False

    @property
    def names(self) -> list[str]:
        """File names without extension; with it where two would be the same."""
        return _unique_names(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        if self._cache is not None and self._verified:
            return self._cache[index]
        return self._read(index)

    def verify(self, strict: bool = False) -> None:
        """Decode every photograph once, in threads, fill the cache and leave out those that cannot be read.

        They are counted in one warning; with ``strict``, or when none is left, they are a
        :class:`ConfigurationError`.
        """

        def problem(index: int) -> str | None:
            try:
                photo = self._read(index)
            except UnreadablePhoto as error:
                return f"{error.path.name} ({error.reason})"
            if self._cache is not None:
                self._cache[index] = photo
            return None

        problems = _in_threads(problem, len(self))
        readable = [index for index, found in enumerate(problems) if found is None]
        if len(readable) < len(self):
            _leave_out(self.key, "cannot be read", [p for p in problems if p], len(self), strict)
            self.paths = [self.paths[index] for index in readable]
            self._cache = self._cache[readable] if self._cache is not None else None
        self._verified = True

    def _read(self, index: int) -> Tensor:
        photo = read_photo(self.paths[index])
        return photo if self.size is None else resize_photo(photo, self.size)


class PairSet(Dataset[Pair]):
    """Input photographs with their references, matched by file name without extension, in either case.

    An input without a reference is left out and counted in one warning (an error with ``strict``); so is, by
    :meth:`verify`, a pair that cannot be read or whose sizes differ by more than two pixels. Smaller
    differences are mended by resizing the reference.

    Args:
        inputs: the files, as from :func:`list_photos`.
        references: the files that the inputs are compared with; None when there are none.
        size: side of the square that both are resized to (bicubic, 8 bits); None keeps their size.
        strict: whether something left out is an error.
        key: the configuration key that the inputs come from, for messages.
        reference_key: the same for the references.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        references: Sequence[Path] | None = None,
        size: int | None = None,
        strict: bool = False,
        key: str = "inputs",
        reference_key: str = "references",
    ) -> None:
        self.size = size
        self.strict = strict
        self.key = key
        self.pairs: list[tuple[Path, Path | None]] = [(path, None) for path in inputs]
        if references is not None:
            self.pairs = _match(inputs, references, strict, key, reference_key)

    @property
    def names(self) -> list[str]:
        """The inputs' file names without extension; with it where two would be the same."""
        return _unique_names([path for path, _ in self.pairs])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        source, target = self._read(index)
        pair = Pair(input=source, name=self.names[index])
        if target is not None:
            pair["reference"] = target
        return pair

    def verify(self) -> None:
        """Decode every pair once, in threads, and leave out those that cannot be read or compared."""

        def problem(index: int) -> str | None:
            try:
                self._read(index)
            except (UnreadablePhoto, UnequalSizes) as error:
                return f"{error.path.name} ({error.reason})"
            return None

        problems = _in_threads(problem, len(self))
        found = [one for one in problems if one]
        if found:
            _leave_out(self.key, "cannot be read or compared", found, len(self), self.strict)
            self.pairs = [pair for pair, one in zip(self.pairs, problems, strict=True) if one is None]

    def _read(self, index: int) -> tuple[Tensor, Tensor | None]:
        path, reference_path = self.pairs[index]
        source = read_photo(path)
        if reference_path is None:
            return (source if self.size is None else resize_photo(source, self.size)), None
        target = read_photo(reference_path)
        differences = [abs(a - b) for a, b in zip(source.shape, target.shape, strict=True)]
        if max(differences) > SIZE_TOLERANCE:
            sizes = " and ".join(f"{image.shape[2]}x{image.shape[1]}" for image in (source, target))
            raise UnequalSizes(path, f"input and reference differ in size: {sizes}")
        size = self.size if self.size is not None else (source.shape[1], source.shape[2])
        return resize_photo(source, size), resize_photo(target, size)


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


def _is_photo(path: Path) -> bool:
    # macOS writes hidden "._name.jpg" files beside photographs on foreign disks.
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _unique_names(paths: Sequence[Path]) -> list[str]:
    count = Counter(path.stem for path in paths)
    return [path.stem if count[path.stem] == 1 else path.name for path in paths]


def _match(
    inputs: Sequence[Path], references: Sequence[Path], strict: bool, key: str, reference_key: str
) -> list[tuple[Path, Path | None]]:
    """Pairs of files with the same stem in either case; among several references the extension decides."""
    by_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for path in references:
        by_stem[path.stem.casefold()].append(path)
    pairs: list[tuple[Path, Path | None]] = []
    problems: list[str] = []
    for path in inputs:
        candidates = by_stem[path.stem.casefold()]
        same_name = [c for c in candidates if c.name.casefold() == path.name.casefold()]
        candidates = same_name or candidates
        if len(candidates) == 1:
            pairs.append((path, candidates[0]))
        else:
            problems.append(f"{path.name} ({len(candidates) or 'no'} references)")
    matched = {reference for _, reference in pairs}
    problems += [f"{path.name} (no input)" for path in references if path not in matched]
    if problems:
        total = len(inputs) + len(references)
        if not pairs:
            raise ConfigurationError(
                f"{key} and {reference_key}: no input has the name (without extension) of a reference: "
                f"{len(inputs)} inputs such as {inputs[0].name}, "
                f"{len(references)} references such as {references[0].name}. "
                "Name another folder or rename the files"
            )
        _leave_out(f"{key} and {reference_key}", "do not match one to one", problems, total, strict)
    return pairs


def _in_threads(task: Callable[[int], str | None], count: int) -> list[str | None]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(task, range(count)))


def _leave_out(key: str, what: str, problems: Sequence[str], total: int, strict: bool) -> None:
    """Warn once that ``problems`` are left out; an error when ``strict`` or when nothing would be left."""
    named = ", ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else "")
    message = f"{key}: {len(problems)} of {total} photographs {what}: {named}"
    if len(problems) == total:
        raise ConfigurationError(f"{message}. None is left: name another folder")
    if strict:
        raise ConfigurationError(
            f"{message}. Replace or remove them, or leave them out with data.strict=false"
        )
    warnings.warn(f"{message}: left out", stacklevel=3)
