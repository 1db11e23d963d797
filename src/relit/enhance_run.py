"""The work of ``relit enhance``: each photograph read, enhanced and written, and what is said meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from relit.atomic import atomic_write
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
    """

    strength: float = 1.0
    quality: int = QUALITY
    max_pixels: int = MAX_PIXELS


@dataclass
class _Reports:
    """Lines beside the progress bar; what a format can't hold is said once."""

    told: set[tuple[str, str]] = field(default_factory=set)

    def tell(self, line: str) -> None:
        tqdm.write(f"relit enhance: {line}", file=sys.stderr)

    def tell_losses(self, photo: Path, name: str, lost: Sequence[str]) -> None:
        for words in lost:
            if (name, words) not in self.told:
                self.told.add((name, words))
                self.tell(f"{photo}: {FORMATS[name].title} holds {words}: lost in this result and any other")


def write_results(method: Method, planned: Sequence[Planned], settings: Settings | None = None) -> int:
    """Enhance each photograph and write its result; those that can't be are told one by one.

    Returns:
        How many photographs were left out.
    """
    settings = settings or Settings()
    reports = _Reports()
    left_out = 0
    bar = tqdm(planned, "enhancing", unit=" photos", file=sys.stderr, disable=not sys.stderr.isatty())
    for one in bar:
        try:
            _write_result(method, one, settings, reports)
        except UnreadablePhoto as error:
            reason = error.reason
        except TooLarge as error:
            reason = f"{error}; give another --format"
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = f"does not fit into the memory of {method.device}; reduce it, or use --device cpu"
        else:
            continue
        left_out += 1
        reports.tell(f"left out: {one.photo}: {reason}")
    return left_out


def _write_result(method: Method, one: Planned, settings: Settings, reports: _Reports) -> None:
    photo = read_photograph(one.photo, settings.max_pixels)
    for remark in photo.remarks:
        reports.tell(f"{one.photo}: {remark}")
    before = srgb_of(photo)
    after = enhanced(method, before, settings.strength)
    result = with_srgb(photo, after)
    reports.tell_losses(one.photo, one.format, losses(result, one.format))
    content = encoded(result, one.format, settings.quality)
    if one.comparison is not None:
        both = _side_by_side(before, after)
        atomic_write(one.comparison, encoded(both, one.format, settings.quality))
    atomic_write(one.result, content)


def enhanced(method: Method, colours: Tensor, strength: float = 1.0) -> Tensor:
    """The result of a method, blended with the colours it was made from.

    The method sees colours clipped to sRGB; by how much they were outside of it is added again.

    Args:
        method: turns a photograph into its result.
        colours: sRGB, shape (1, 3, H, W), nominally in [0, 1].
        strength: share of the result.
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
