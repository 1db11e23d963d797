"""A few of the photographs that a stage is validated on, side by side, for the logger."""

from __future__ import annotations

from collections.abc import Mapping

import lightning as L
from torch import Tensor

from relit.grids import before_after
from relit.loggers import RunLogger

PICTURES = 4
"""Photographs shown to the logger at each validation."""
PICTURE_SIDE = 512
"""Their long side at most."""


def spread(count: int, total: int) -> set[int]:
    """The places of ``count`` of ``total`` photographs, evenly spread: data sets list like after like."""
    return {place * total // count for place in range(count)}


class ValidationPictures:
    """Collects grids input | result | reference while a stage is validated."""

    def __init__(self) -> None:
        self._grids: dict[str, Tensor] = {}

    @property
    def full(self) -> bool:
        """Whether there are as many as are shown."""
        return len(self._grids) >= PICTURES

    def add(self, name: str, pictures: Mapping[str, Tensor]) -> None:
        """Keep one photograph's pictures, (1, 3, H, W) in [0, 1] by kind."""
        self._grids[f"val/{name}"] = before_after(pictures, PICTURE_SIDE)

    def log(self, stage: L.LightningModule) -> None:
        """Show them to the stage's logger, if it takes pictures, and begin anew."""
        if isinstance(stage.logger, RunLogger):
            # the step that Lightning logs the figures at: it counts batches from 0
            stage.logger.log_pictures(self._grids, stage.global_step - 1)
        self._grids = {}
