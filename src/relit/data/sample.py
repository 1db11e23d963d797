"""The embedded sample data: bundled photographs and procedural scenes, made backlit in linear light.

Scenes that serve as inputs, as unpaired well-lit references and for the test are disjoint. A few photographs
give many crops, so the figures measured on them tell that the method works here, not how it compares.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from relit.data.decoding import decode
from relit.data.photographs import Photograph, Role, photographs
from relit.data.procedural import procedural_scene
from relit.data.sets import MemoryPairSet, MemoryPhotoSet, Pairs, Photos
from relit.data.synthesis import backlit, to_srgb
from relit.data.unpaired import UnpairedPhotos
from relit.keyed import keyed_generator

TRAINING_SHADE = (-3.0, -0.5)
"""Stops of the shade in training inputs: mild cases too, so that the prompts learn where well lit begins."""
EXPOSURES = 4
"""Backlit versions of each test scene."""


class SamplePhotos(UnpairedPhotos):
    """The embedded sample data.

    The order of the photographs depends on the seed; the photographs themselves do not.

    Args:
        crops: crops of the photographs of each role.
        procedural: procedural scenes of each role.
        options: those of :class:`~relit.data.unpaired.UnpairedPhotos`; ``test_size`` is the long side of the
            test photographs.
    """

    def __init__(self, *, crops: int = 64, procedural: int = 64, **options: Any) -> None:
        super().__init__(**options)
        self.crops, self.procedural = crops, procedural

    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        """Render inputs and references and read the test scenes; the same on every machine."""
        inputs, names = self._scenes("input")
        dark = backlit(inputs, keyed_generator("sample", "backlit"), TRAINING_SHADE)
        references, reference_names = self._scenes("reference")
        return (
            MemoryPhotoSet(list(_bytes(dark)), names),
            MemoryPhotoSet(list(_bytes(references)), reference_names),
            self._test(),
        )

    def _scenes(self, role: Role) -> tuple[Tensor, list[str]]:
        """Well-lit squares of one role: sRGB (N, 3, size, size) in [0, 1], and their names."""
        sources = photographs(role)
        images, names = [], []
        for i in range(self.crops):
            source = sources[i % len(sources)]
            images.append(_crop(source, self.size, keyed_generator("sample", role, i)))
            names.append(f"{source.name}-{i}")
        for i in range(self.procedural):
            images.append(to_srgb(procedural_scene(self.size, "sample", role, i)))
            names.append(f"procedural-{role}-{i}")
        return torch.stack(images), names

    def _test(self) -> MemoryPairSet:
        inputs, references, names = [], [], []
        for source in photographs("test"):
            reference = _whole(source, self.test_size)
            for k in range(EXPOSURES):
                generator = keyed_generator("sample", "test", source.name, k)
                inputs.append(_bytes(backlit(reference[None], generator))[0])
                references.append(_bytes(reference))
                names.append(f"{source.name}-{k}")
        return MemoryPairSet(inputs, references, names)


def _crop(source: Photograph, size: int, generator: torch.Generator) -> Tensor:
    """A random square of half to all of the short side, flipped at random; sRGB (3, size, size) in [0, 1]."""
    image = decode(source.path())
    u = torch.rand(4, generator=generator).tolist()
    side = int(min(image.size) * (0.5 + 0.5 * u[0]))
    left, top = (int(v * (extent - side)) for v, extent in zip(u[1:3], image.size, strict=True))
    crop = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    tensor = pil_to_tensor(crop) / 255
    return tensor.flip(2) if u[3] < 0.5 else tensor


def _whole(source: Photograph, long_side: int | None) -> Tensor:
    image = decode(source.path())
    if long_side is not None:
        scale = long_side / max(image.size)
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
        )
    return pil_to_tensor(image) / 255


def _bytes(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
