"""CLIPs and photographs of real size and without meaning: what a step costs does not depend on it."""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor

from relit.clip import ClipIdentity, FrozenClip
from relit.data.sets import MemoryPhotoSet
from relit.keyed import keyed_generator, keyed_seed


def random_clip(model: str) -> FrozenClip:
    """A CLIP of open_clip with random weights, the same at each call, antialiasing off as in the release."""
    with torch.random.fork_rng():  # open_clip draws from the global generator
        torch.manual_seed(keyed_seed("benchmark", model))
        network = open_clip.create_model(model, pretrained=None)
    return FrozenClip(
        network,
        open_clip.get_tokenizer(model),
        ClipIdentity(model, "random", ""),
        network.visual.image_mean,
        network.visual.image_std,
        antialias=False,
    )


def random_pixels(count: int, size: int) -> Tensor:
    """uint8 noise, (count, 3, size, size), the same at each call."""
    generator = keyed_generator("benchmark", "pixels")
    return torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def random_photos(count: int, size: int) -> MemoryPhotoSet:
    """:func:`random_pixels` as a set of photographs."""
    return MemoryPhotoSet(random_pixels(count, size).unbind(), [str(i) for i in range(count)])
