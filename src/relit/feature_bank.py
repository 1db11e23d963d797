"""CLIP features of augmented photographs, computed once per stage.

Prompts are trained on image features alone, and CLIP is frozen, so a photograph need not be encoded again at
every step. The bank holds K views of every photograph. View k is one transform drawn once and applied to
*all* photographs, so that a backlit photo, its enhanced result and the one before stay aligned. It replaces
fresh augmentation by K stored draws: faster, and not the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.data.augmentation import Augmentation
from relit.data.folders import Photos
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

BATCH = 32


class FeatureBank:
    """Features of K views of sets of photographs.

    Args:
        clip: encodes the views.
        augmentation: where the transforms are drawn from.
        views: K; view 0 is the photograph as it is.
        seed: key of the transforms.
        device: where photographs are encoded and features are kept.
    """

    def __init__(
        self, clip: FrozenClip, augmentation: Augmentation, views: int, seed: int, device: torch.device
    ) -> None:
        if views < 1:
            raise ConfigurationError(f"views: a feature bank needs at least one view, not {views}.")
        self.clip, self.augmentation, self.seed, self.device = clip, augmentation, seed, device
        identity = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        drawn = [augmentation.draw(keyed_generator(seed, "view", k)) for k in range(1, views)]
        self.transforms = torch.stack([identity, *drawn])
        self._features: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, name: str, photos: Photos, develop: Callable[[Tensor], Tensor] | None = None) -> None:
        """Encode all views of ``photos`` under ``name``.

        Args:
            name: what to ask for later.
            photos: uint8 photographs of one size.
            develop: applied to the photographs (B, 3, S, S) in [0, 1] before the view is taken, such as the
                enhancement.
        """
        encoded = []
        for first in range(0, len(photos), BATCH):
            indices = range(first, min(first + BATCH, len(photos)))
            images = torch.stack([photos[i] for i in indices]).to(self.device).float() / 255
            images = images if develop is None else develop(images)
            views = [self.augmentation.apply(images, t.expand(len(images), 2, 3)) for t in self.transforms]
            encoded.append(torch.stack([self.clip.encode_image(view) for view in views], dim=1))
        self._features[name] = torch.cat(encoded)

    def __call__(self, name: str, indices: Tensor, views: Tensor) -> Tensor:
        """Features (B, D) of photographs ``indices`` (B,) in ``views`` (B,)."""
        features = self._features[name]
        return features[indices.to(features.device), views.to(features.device)]

    def views_of(self, positions: Tensor) -> Tensor:
        """Which view each position of the run sees, int64 (B,): a function of seed and position alone."""
        count = len(self.transforms)
        return torch.tensor(
            [
                int(torch.randint(count, (), generator=keyed_generator(self.seed, "which view", int(p))))
                for p in positions.tolist()
            ]
        )
