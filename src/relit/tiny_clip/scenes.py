"""The pool of scenes the embedded CLIP learns from: crops of bundled photographs and procedural scenes."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from relit.data.decoding import decode
from relit.data.photographs import Photograph, photographs
from relit.data.procedural import procedural_scene
from relit.data.synthesis import to_linear
from relit.keyed import keyed_generator


def scene_pool(crops: int, procedural: int, size: int, seed: int) -> Tensor:
    """Scenes in linear light, float16 (N, 3, size, size).

    The photographs are those that the sample data uses for training (inputs and references), never its test
    scenes.

    Args:
        crops: number of random crops, evenly over the photographs.
        procedural: number of procedural scenes.
        size: side in pixels.
        seed: the run's seed.
    """
    sources = [*photographs("input"), *photographs("reference")]
    photos = [
        photo_crop(sources[i % len(sources)], size, keyed_generator(seed, "crop", i)) for i in range(crops)
    ]
    rendered = [procedural_scene(size, seed, i).half() for i in range(procedural)]
    return torch.stack([*photos, *rendered])


def photo_crop(photograph: Photograph, size: int, generator: torch.Generator) -> Tensor:
    """A random square of 40 to 100 % of the short side, resized, in linear light."""
    image = decode(photograph.path())
    side = int(min(image.size) * (0.4 + 0.6 * float(torch.rand((), generator=generator))))
    left, top = (int(torch.randint(extent - side + 1, (), generator=generator)) for extent in image.size)
    crop = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return to_linear(pil_to_tensor(crop) / 255).half()
