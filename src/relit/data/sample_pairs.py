"""The embedded scenes, badly exposed by the computer: pairs without a download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from relit.data.badly_taken import BadlyTakenPairs, BadlyTakenSet
from relit.data.datamodule import check_least
from relit.data.faults import ExposureFaults
from relit.data.paired import PairSplits
from relit.data.rows import Row
from relit.data.sample_scenes import as_bytes, square_scenes, tested_scenes
from relit.data.sets import MemoryPairSet
from relit.data.validation import hold_out_scenes


class SamplePairs(BadlyTakenPairs):
    """Bundled photographs and procedural scenes to train on, other photographs to test on.

    Args:
        faults: what happens to them.
        size: side in pixels of the squares to train on, of which ``crop`` is cut.
        crops: crops of the photographs of each role.
        procedural: procedural scenes of each role.
        exposures: faulty versions of each test photograph.
        options: those of :class:`~relit.data.paired.PairedPhotos`; ``test_size`` is the long side of the
            test photographs.
    """

    def __init__(
        self, faults: ExposureFaults, size: int, crops: int, procedural: int, exposures: int, **options: Any
    ) -> None:
        super().__init__(faults, **options)
        check_least(size=(size, self.crop), exposures=(exposures, 1))
        self.size, self.crops, self.procedural, self.exposures = size, crops, procedural, exposures

    def load(self) -> PairSplits:
        """Render the scenes; the same on every machine. Only which ones are held out depends on the seed."""
        scenes: dict[str, Tensor] = {}
        for role in ("input", "reference"):
            squares, names = square_scenes(role, self.size, self.crops, self.procedural)
            scenes |= dict(zip(names, squares, strict=True))
        trained, validated = hold_out_scenes([_row(name) for name in scenes], self.held_out, self.seed)
        return PairSplits(
            self._taken({row.label: scenes[row.label] for row in trained}, 1),
            self._taken({row.label: scenes[row.label] for row in validated}, 1) if validated else None,
            self._taken({name: scene for scene, name in tested_scenes(self.test_size)}, self.exposures),
        )

    def _taken(self, scenes: Mapping[str, Tensor], exposures: int) -> BadlyTakenSet:
        names = list(scenes)
        photos = MemoryPairSet([as_bytes(scene) for scene in scenes.values()], None, names)
        return BadlyTakenSet(photos, names, self.faults, exposures)


def _row(name: str) -> Row:
    """Crops of one photograph are one scene, and each procedural one is one of its own."""
    scene = name if name.startswith("procedural") else name.rpartition("-")[0]
    return Row(Path(name), None, "train", name, scene)
