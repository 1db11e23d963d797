"""Reading photographs at the size they are wanted, from their files or from the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from relit.data.cache import PhotoCache
from relit.data.photo import read_photo, resize_photo
from relit.data.sizes import reduced_size


@dataclass(frozen=True)
class Resize:
    """To which size a photograph is brought when it is read; with neither given it keeps its own.

    Attributes:
        square: to ``square`` x ``square`` pixels; the aspect ratio is not kept.
        long_side: reduced, in proportion, to this long side where it is larger.
    """

    square: int | None = None
    long_side: int | None = None

    def __call__(self, photo: Tensor) -> Tensor:
        """uint8 (3, H, W) to the same at the new size."""
        if self.square is not None:
            return resize_photo(photo, self.square)
        if self.long_side is None:
            return photo
        return resize_photo(photo, reduced_size(photo.shape[1], photo.shape[2], self.long_side))

    @property
    def name(self) -> str:
        """Tells this transform from others in the cache."""
        if self.square is not None:
            return f"square {self.square}"
        return "whole" if self.long_side is None else f"long side {self.long_side}"


@dataclass(frozen=True)
class PhotoReader:
    """Decodes and resizes; with a cache, once per content of a file and never again.

    Attributes:
        resize: the size that photographs get.
        cache: where decoded photographs are kept; None decodes each time.
    """

    resize: Resize = Resize()
    cache: PhotoCache | None = None

    def __call__(self, path: Path) -> Tensor:
        """The photograph: uint8 (3, H, W). From the cache its pixels are read when they are used.

        Raises: :class:`~relit.data.decoding.UnreadablePhoto`.
        """
        if self.cache is None:
            return self._decode(path)
        return self.cache.read(path, self.resize.name, self._decode)

    def _decode(self, path: Path) -> Tensor:
        return self.resize(read_photo(path))
