"""CLIP features of augmented photographs: what prompt training asks for, and the plain way to answer.

Under every name a sample of the run has the same transform, so that a backlit photo, its enhanced result and
the one before stay aligned. What is random about it is a function of seed and position alone.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from relit.clip import FrozenClip
from relit.data.augmentation import Augmentation
from relit.data.sets import MemoryPhotoSet, Photos

BATCH = 32
"""Photographs that are developed or encoded at once."""

Develop = Callable[[Tensor], Tensor]
"""Photographs (B, 3, S, S) in [0, 1] to results of the same shape and range, such as the enhancement."""


class ImageFeatures(ABC):
    """Features of named sets of photographs under random transforms.

    Args:
        clip: encodes the photographs.
        augmentation: where the transforms are drawn from.
        seed: key of all that is random.
        device: where photographs are encoded.
        progress: whether :meth:`add` shows a bar.
    """

    def __init__(
        self,
        clip: FrozenClip,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
        progress: bool = False,
    ) -> None:
        self.clip, self.augmentation, self.seed, self.device = clip, augmentation, seed, device
        self.progress = progress
        self._photos: dict[str, Photos] = {}

    @abstractmethod
    def add(self, name: str, photos: Photos, develop: Develop | None = None) -> None:
        """Take in ``photos`` under ``name``.

        Args:
            name: what to ask for later.
            photos: uint8 photographs of one size, square.
            develop: applied to all photographs, once. Its results are rounded to 8 bits, as if they had been
                written to files, which the release does; views are taken of the rounded results.
        """

    @abstractmethod
    def __call__(self, name: str, indices: Tensor, positions: Tensor) -> Tensor:
        """Unit-norm features (B, D), without gradient.

        Args:
            name: which photographs.
            indices: int64 (B,), which of them.
            positions: int64 (B,), the samples' places in the run, which decide the transforms.
        """

    @abstractmethod
    def advance(self, step: int) -> None:
        """Hold the features that training step ``step`` sees, counted from 0. May come before :meth:`add`."""

    def _images(self, photos: Photos, indices: Iterable[int]) -> Tensor:
        """Photographs (B, 3, S, S) in [0, 1] on the device."""
        return torch.stack([photos[i] for i in indices]).to(self.device).float() / 255

    def _batches(self, photos: Photos, title: str, progress: bool) -> Iterator[Tensor]:
        """All photographs in order, :data:`BATCH` at a time, as :meth:`_images` gives them."""
        # a log file gets a line now and then, a terminal a moving bar
        interval = 0.2 if sys.stderr.isatty() else 15
        with tqdm(
            desc=title, total=len(photos), disable=not progress, leave=False, mininterval=interval
        ) as bar:
            for first in range(0, len(photos), BATCH):
                indices = range(first, min(first + BATCH, len(photos)))
                yield self._images(photos, indices)
                bar.update(len(indices))

    def _developed(self, name: str, photos: Photos, develop: Develop | None) -> Photos:
        """``photos`` themselves, or the 8-bit results of ``develop``."""
        if develop is None:
            return photos
        batches = self._batches(photos, f"developing {name}", self.progress)
        results = [(develop(images).clamp(0, 1) * 255).round().to(torch.uint8).cpu() for images in batches]
        return MemoryPhotoSet((photo for batch in results for photo in batch), photos.names)


class FreshFeatures(ImageFeatures):
    """Features of a new transform per position, encoded when they are asked for; nothing is stored."""

    @torch.no_grad()
    def add(self, name: str, photos: Photos, develop: Develop | None = None) -> None:
        self._photos[name] = self._developed(name, photos, develop)

    @torch.no_grad()
    def __call__(self, name: str, indices: Tensor, positions: Tensor) -> Tensor:
        images = self._images(self._photos[name], indices.tolist())
        transforms = self.augmentation.matrices(positions, self.seed)
        return self.clip.encode_image(self.augmentation.apply(images, transforms))

    def advance(self, step: int) -> None:
        """Nothing is held, so nothing changes."""
