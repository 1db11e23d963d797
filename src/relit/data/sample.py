"""The embedded sample data: bundled photographs and procedural scenes, made backlit in linear light.

Scenes that serve as inputs, as unpaired well-lit references and for the test are disjoint. A few photographs
give many crops, so the figures measured on them tell that the method works here, not how it compares.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from relit.data.photographs import Role
from relit.data.sample_scenes import as_bytes, square_scenes, tested_scenes
from relit.data.sets import MemoryPairSet, MemoryPhotoSet, Pairs, Photos
from relit.data.synthesis import backlit
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
            MemoryPhotoSet(list(as_bytes(dark)), names),
            MemoryPhotoSet(list(as_bytes(references)), reference_names),
            self._test(),
        )

    def _scenes(self, role: Role) -> tuple[Tensor, list[str]]:
        return square_scenes(role, self.size, self.crops, self.procedural)

    def _test(self) -> MemoryPairSet:
        inputs, references, names = [], [], []
        for reference, scene in tested_scenes(self.test_size):
            for k in range(EXPOSURES):
                generator = keyed_generator("sample", "test", scene, k)
                inputs.append(as_bytes(backlit(reference[None], generator))[0])
                references.append(as_bytes(reference))
                names.append(f"{scene}-{k}")
        return MemoryPairSet(inputs, references, names)
