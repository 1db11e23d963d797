"""CLIP features of augmented photographs, stored instead of computed at every step.

Prompts are trained on image features alone, and CLIP is frozen, so a photograph need not be encoded again at
every step. The bank holds K views of every photograph: K transforms instead of ever new ones, which is faster
than fresh augmentation, and not the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.data.augmentation import Augmentation, affine_map
from relit.data.sets import Photos
from relit.errors import ConfigurationError
from relit.fresh_features import Develop, FreshFeatures, ImageFeatures
from relit.keyed import keyed_generator


def image_features(
    clip: FrozenClip,
    augmentation: Augmentation,
    views: int | None,
    refresh_every: int | None,
    seed: int,
    device: torch.device,
    progress: bool = False,
) -> ImageFeatures:
    """A :class:`FeatureBank` of ``views`` views; :class:`FreshFeatures` where ``views`` is None.

    Fresh features are new at every step, so ``refresh_every`` has no effect on them.
    """
    if views is None:
        return FreshFeatures(clip, augmentation, seed, device, progress)
    return FeatureBank(clip, augmentation, views, seed, device, refresh_every, progress)


class FeatureBank(ImageFeatures):
    """Stored features of K views of every photograph.

    View 0 is the photograph as it is, view k > 0 one transform of *all* photographs. Every ``refresh_every``
    steps the next of the views 1, ..., K - 1, 1, ... gets a new transform. Which transforms are held at a
    step is a function of seed and step alone, and every batch that is encoded shows one view. So a bank that
    is built at step t equals one that was refreshed up to t, bit for bit on a CPU.

    Args:
        views: K.
        refresh_every: steps between two refreshes; None keeps the first transforms. One view alone is the
            photograph, which no refresh changes.
        clip, augmentation, seed, device, progress: as in :class:`ImageFeatures`; features are kept on
            ``device``.

    Raises:
        ConfigurationError: ``views`` or ``refresh_every`` below 1.
    """

    def __init__(
        self,
        clip: FrozenClip,
        augmentation: Augmentation,
        views: int,
        seed: int,
        device: torch.device,
        refresh_every: int | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(clip, augmentation, seed, device, progress)
        if views < 1:
            raise ConfigurationError(
                f"views: a feature bank needs at least one view, not {views}. Set 1 or more, or null to "
                "encode at every step."
            )
        if refresh_every is not None and refresh_every < 1:
            raise ConfigurationError(
                f"refresh_every: views are refreshed every 1 or more steps, not {refresh_every}. Set null to "
                "keep them."
            )
        self.refresh_every = refresh_every
        self._generations = [0] * views
        self.transforms = torch.stack([self._transform(k, 0) for k in range(views)])
        self._features: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, name: str, photos: Photos, develop: Develop | None = None) -> None:
        photos = self._developed(name, photos, develop)
        batches = self._batches(photos, f"encoding {name}", self.progress)
        self._features[name] = self._encoded(batches, range(len(self.transforms)))
        if self.refresh_every is not None:
            self._photos[name] = photos

    def __call__(self, name: str, indices: Tensor, positions: Tensor) -> Tensor:
        features = self._features[name]
        return features[indices.to(features.device), self.views_of(positions).to(features.device)]

    def views_of(self, positions: Tensor) -> Tensor:
        """Which view each position of the run sees, int64 (B,): a function of seed and position alone."""
        count = len(self.transforms)
        return torch.tensor([_view_at(position, count, self.seed) for position in positions.tolist()])

    @torch.no_grad()
    def advance(self, step: int) -> None:
        """As in :class:`ImageFeatures`; only views whose transform changes are encoded."""
        generations = [self._generation(k, step) for k in range(len(self.transforms))]
        changed = [k for k, generation in enumerate(generations) if generation != self._generations[k]]
        self._generations = generations
        if not changed:
            return
        self.transforms[changed] = torch.stack([self._transform(k, generations[k]) for k in changed])
        for name, photos in self._photos.items():
            batches = self._batches(photos, f"refreshing {name}", progress=False)
            self._features[name][:, changed] = self._encoded(batches, changed)

    def _generation(self, view: int, step: int) -> int:
        """How often ``view`` has been refreshed when step ``step`` begins."""
        if view == 0 or self.refresh_every is None:
            return 0
        # refresh number r = 1, 2, ... is that of view 1 + (r - 1) mod (K - 1)
        return (step // self.refresh_every - view) // (len(self.transforms) - 1) + 1

    def _transform(self, view: int, generation: int) -> Tensor:
        """The map (2, 3) of ``view`` in its ``generation``."""
        if view == 0:
            return affine_map()
        refreshed = [generation] if generation else []
        return self.augmentation.draw(keyed_generator(self.seed, "view", view, *refreshed))

    def _encoded(self, batches: Iterable[Tensor], views: Sequence[int]) -> Tensor:
        """Features (N, len(views), D) of the photographs in ``batches``."""
        # in full precision also where a training step under autocast asks for it
        with torch.autocast(self.device.type, enabled=False):
            return torch.cat(
                [torch.stack([self._view(images, k) for k in views], dim=1) for images in batches]
            )

    def _view(self, images: Tensor, view: int) -> Tensor:
        """Features (B, D) of ``view`` of photographs (B, 3, S, S)."""
        transforms = self.transforms[view].expand(len(images), 2, 3)
        return self.clip.encode_image(self.augmentation.apply(images, transforms))


@lru_cache(maxsize=4096)
def _view_at(position: int, count: int, seed: int) -> int:
    """A view in [0, count); remembered, because each step asks once for every name."""
    return int(torch.randint(count, (), generator=keyed_generator(seed, "which view", position)))
