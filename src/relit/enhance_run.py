"""The work of ``relit enhance``: each photograph read, enhanced and written, and what is said meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from relit.atomic import DiskFull, atomic_write
from relit.clip_restorex.feature_maps import NoRoom
from relit.data.decoding import UnreadablePhoto
from relit.enhance_plan import Planned
from relit.grids import before_after
from relit.method import Method
from relit.photo_file.colour import srgb_of, with_srgb
from relit.photo_file.formats import FORMATS
from relit.photo_file.photograph import Photograph
from relit.photo_file.reading import MAX_PIXELS, read_photograph
from relit.photo_file.writing import QUALITY, TooLarge, encoded, losses


@dataclass(frozen=True)
class Settings:
    """How photographs are enhanced and written.

    Attributes:
        strength: 0 leaves a photograph as it is, 1 is the method's result; linear between them.
        quality: 1 to 100, of JPEG and WebP files.
        max_pixels: photographs of more are left out.
        batch: photographs at once, where they follow each other and have the same size.
    """

    strength: float = 1.0
    quality: int = QUALITY
    max_pixels: int = MAX_PIXELS
    batch: int = 1


class _Read(NamedTuple):
    """A photograph that was read, its colours (1, 3, H, W), and what becomes of it."""

    planned: Planned
    photo: Photograph
    colours: Tensor


def write_results(method: Method, planned: Sequence[Planned], settings: Settings | None = None) -> int:
    """Enhance each photograph and write its result; those that can't be are told one by one.

    Returns:
        How many photographs were left out.
    """
    run = _Run(method, settings or Settings())
    bar = tqdm(planned, "enhancing", unit=" photos", file=sys.stderr, disable=not sys.stderr.isatty())
    for group in _of_same_size(run.read(bar), run.settings.batch):
        run.enhance(group)
    return run.left_out


def _of_same_size(photos: Iterable[_Read], most: int) -> Iterator[list[_Read]]:
    """Those that follow each other and have the same size, at most so many together."""
    group: list[_Read] = []
    for one in photos:
        if group and (len(group) == most or group[0].colours.shape != one.colours.shape):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


class _NoMemory(Exception):  # noqa: N818 - it says what is the matter
    """Photographs that don't fit into memory; the message says so, with the remedy."""


@dataclass
class _Run:
    """What photographs go through, and the lines about them beside the progress bar."""

    method: Method
    settings: Settings
    left_out: int = 0
    told: set[tuple[str, str]] = field(default_factory=set)

    def read(self, planned: Iterable[Planned]) -> Iterator[_Read]:
        """Those that can be read."""
        for one in planned:
            found = None
            with self._or_left_out(one):
                photo = read_photograph(one.photo, self.settings.max_pixels)
                for remark in photo.remarks:
                    self._tell(f"{one.photo}: {remark}")
                found = _Read(one, photo, srgb_of(photo))
            if found is not None:
                yield found

    def enhance(self, group: Sequence[_Read]) -> None:
        """Enhance photographs of one size at once, or one by one where memory is too short for that."""
        try:
            results = self._results(group)
        except _NoMemory as error:
            reason = str(error)
        else:
            for one, result in zip(group, results.split(1), strict=True):
                with self._or_left_out(one.planned):
                    if not bool(result.isfinite().all()):
                        raise ValueError("the result is not finite; try --precision 32, or other weights")
                    self._write(one, result)
            return
        if len(group) == 1:
            self._leave_out(group[0].planned, reason)
            return
        for one in group:
            self.enhance([one])

    def _results(self, group: Sequence[_Read]) -> Tensor:
        """(B, 3, H, W)."""
        try:
            return enhanced(self.method, torch.cat([one.colours for one in group]), self.settings.strength)
        except NoRoom as error:
            raise _NoMemory(str(error)) from error
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise _NoMemory(self._no_memory) from error

    def _write(self, one: _Read, after: Tensor) -> None:
        planned, result = one.planned, with_srgb(one.photo, after)
        self._tell_losses(planned.photo, planned.format, losses(result, planned.format))
        content = encoded(result, planned.format, self.settings.quality)
        if planned.comparison is not None:
            both = _side_by_side(one.colours, after)
            atomic_write(planned.comparison, encoded(both, planned.format, self.settings.quality))
        atomic_write(planned.result, content)

    @contextmanager
    def _or_left_out(self, one: Planned) -> Iterator[None]:
        """A photograph that can't be read, encoded or written is left out; a full disk ends the run."""
        try:
            yield
        except UnreadablePhoto as error:
            self._leave_out(one, error.reason or str(error))
        except TooLarge as error:
            self._leave_out(one, f"{error}; give another --format")
        except MemoryError:
            self._leave_out(one, self._no_memory)
        except DiskFull:
            raise
        except (OSError, ArithmeticError, ValueError) as error:
            # what encoders say of values that their format can't hold, or the system of a name
            self._leave_out(one, str(error))

    @property
    def _no_memory(self) -> str:
        device = self.method.device
        elsewhere = "" if device.type == "cpu" else ", or use --device cpu"
        return f"does not fit into the memory of {device}; give a smaller --tile, reduce it{elsewhere}"

    def _leave_out(self, one: Planned, reason: str) -> None:
        self.left_out += 1
        self._tell(f"left out: {one.photo}: {reason}")

    def _tell(self, line: str) -> None:
        tqdm.write(f"relit enhance: {line}", file=sys.stderr)

    def _tell_losses(self, photo: Path, name: str, lost: Sequence[str]) -> None:
        """What a format can't hold is said once."""
        for words in lost:
            if (name, words) not in self.told:
                self.told.add((name, words))
                self._tell(f"{photo}: {FORMATS[name].title} holds {words}: lost in this result and any other")


def enhanced(method: Method, colours: Tensor, strength: float = 1.0) -> Tensor:
    """The results of a method, blended with the colours they were made from.

    The method sees colours clipped to sRGB; by how much they were outside of it is added again.

    Args:
        method: turns photographs into their results.
        colours: sRGB, shape (B, 3, H, W), nominally in [0, 1].
        strength: share of the results.
    """
    seen = colours.clamp(0, 1)
    return torch.lerp(seen, method(seen), strength) + (colours - seen)


def _side_by_side(before: Tensor, after: Tensor) -> Photograph:
    picture = before_after({"input": before.clamp(0, 1), "result": after.clamp(0, 1)})
    return Photograph((picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def _is_out_of_memory(error: Exception) -> bool:
    """Of a GPU, or of the system, for which PyTorch has no class of its own."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or "DefaultCPUAllocator" in str(error)
