"""The data modules of a run's stages: equal settings share one, photographs that are the same are shared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningDataModule

from relit.data.datamodule import PhotoData
from relit.instantiation import build

BATCH_KEYS = frozenset({"augment", "batch_size", "crop", "images", "num_workers"})
"""Settings of a data module that say how its photographs are handed out, not which they are."""


class StageData:
    """Stages with equal data settings share a data module; if only batches differ, its photographs.

    Args:
        node: the configuration's ``data``, which a stage's own ``data`` overrides.
    """

    def __init__(self, node: Mapping[str, Any]) -> None:
        self.node = node
        self._built: dict[str, LightningDataModule] = {}
        self._sources: dict[str, LightningDataModule] = {}

    def batch_size(self, stage: Mapping[str, Any]) -> int:
        """Photographs or pairs of one process in a step of ``stage``."""
        return int(self._node_of(stage).get("batch_size", 1))

    def of(self, stage: Mapping[str, Any]) -> LightningDataModule:
        """The data module of a ``stage`` with these settings."""
        node = self._node_of(stage)
        key = json.dumps(node, sort_keys=True)
        if key not in self._built:
            built = build(node)
            content = {name: value for name, value in node.items() if name not in BATCH_KEYS}
            first = self._sources.setdefault(json.dumps(content, sort_keys=True), built)
            if first is not built and hasattr(built, "share"):
                built.share(first)
            self._built[key] = built
        return self._built[key]

    def load(self, stage: Mapping[str, Any]) -> None:
        """Load the photographs of a ``stage`` now, where they can be loaded before there is a trainer."""
        datamodule = self.of(stage)
        if isinstance(datamodule, PhotoData):
            datamodule.setup("fit")

    def _node_of(self, stage: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.node, **(stage.get("data") or {})}
