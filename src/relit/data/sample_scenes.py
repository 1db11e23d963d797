"""The embedded scenes: bundled photographs and procedural ones, in roles that share none."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from relit.data.decoding import decode
from relit.data.photographs import Photograph, Role, photographs
from relit.data.procedural import procedural_scene
from relit.data.synthesis import to_srgb
from relit.keyed import keyed_generator


def square_scenes(role: Role, size: int, crops: int, procedural: int) -> tuple[Tensor, list[str]]:
    """Well-lit squares of one role: sRGB (N, 3, size, size) in [0, 1], and their names.

    Args:
        role: whose photographs.
        size: side in pixels.
        crops: of the photographs, in turns.
        procedural: scenes beside them.
    """
    sources = photographs(role)
    images, names = [], []
    for i in range(crops):
        source = sources[i % len(sources)]
        images.append(_crop(source, size, keyed_generator("sample", role, i)))
        names.append(f"{source.name}-{i}")
    for i in range(procedural):
        images.append(to_srgb(procedural_scene(size, "sample", role, i)))
        names.append(f"procedural-{role}-{i}")
    return torch.stack(images), names


def tested_scenes(long_side: int | None) -> list[tuple[Tensor, str]]:
    """The photographs to test on, whole: sRGB (3, H, W) in [0, 1], and their names."""
    return [(whole(source, long_side), source.name) for source in photographs("test")]


def as_bytes(images: Tensor) -> Tensor:
    """Numbers in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _crop(source: Photograph, size: int, generator: torch.Generator) -> Tensor:
    """A random square of half to all of the short side, flipped at random; sRGB (3, size, size) in [0, 1]."""
    image = decode(source.path())
    u = torch.rand(4, generator=generator).tolist()
    side = int(min(image.size) * (0.5 + 0.5 * u[0]))
    left, top = (int(v * (extent - side)) for v, extent in zip(u[1:3], image.size, strict=True))
    crop = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    tensor = pil_to_tensor(crop) / 255
    return tensor.flip(2) if u[3] < 0.5 else tensor


def whole(source: Photograph, long_side: int | None) -> Tensor:
    """A photograph at this long side, or its own: sRGB (3, H, W) in [0, 1]."""
    image = decode(source.path())
    if long_side is not None:
        scale = long_side / max(image.size)
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
        )
    return pil_to_tensor(image) / 255
