"""Photographs that no training step sees: what a stage is judged on while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from relit.data.rows import Row
from relit.data.sets import Pairs, Photos
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator


class Selection(Subset[Tensor]):
    """The photographs of a set at ``indices``, and their names."""

    @property
    def names(self) -> list[str]:
        names = cast("Photos", self.dataset).names
        return [names[index] for index in self.indices]


def hold_out(photos: Photos, count: int, *key: int | str) -> tuple[Photos, Photos]:
    """Split ``photos`` into those to train on and ``count`` held out, drawn by ``key``; both in order.

    Raises:
        ConfigurationError: nothing would be left to train on.
    """
    if count >= len(photos):
        raise ConfigurationError(
            f"data.held_out: {count} photographs can't be held out of {len(photos)}; hold out fewer, or name "
            "a folder of other photographs with data.val_input (of pairs: data.layout.val_input)."
        )
    drawn = set(torch.randperm(len(photos), generator=keyed_generator(*key))[:count].tolist())
    kept = [index for index in range(len(photos)) if index not in drawn]
    dataset = cast("Dataset[Tensor]", photos)
    return Selection(dataset, kept), Selection(dataset, sorted(drawn))


def hold_out_scenes(rows: Sequence[Row], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows into those to train on and those of ``count`` scenes, drawn by ``seed``, to validate on.

    Raises: :class:`ConfigurationError` when nothing would be left to train on.
    """
    scenes = list(dict.fromkeys(row.scene for row in rows))
    if count >= len(scenes):
        raise ConfigurationError(
            f"data.held_out: {count} scenes can't be held out of {len(scenes)}; hold out fewer."
        )
    order = torch.randperm(len(scenes), generator=keyed_generator(seed, "held out", "scenes")).tolist()
    drawn = {scenes[place] for place in order[:count]}
    return [row for row in rows if row.scene not in drawn], [row for row in rows if row.scene in drawn]


class ValidationPhotos(Dataset[dict[str, Any]]):
    """Inputs, with references where there are some, then well-lit photographs of other scenes.

    An item holds ``name`` and either ``input`` and perhaps ``reference``, or ``well_lit``: uint8, (3, H, W).
    """

    def __init__(self, inputs: Pairs | Photos, well_lit: Photos | None) -> None:
        self.inputs, self.well_lit = inputs, well_lit

    def __len__(self) -> int:
        return len(self.inputs) + (0 if self.well_lit is None else len(self.well_lit))

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < len(self.inputs):
            item = self.inputs[index]
            if isinstance(item, Tensor):
                return {"input": item, "name": self.inputs.names[index]}
            return dict(item)
        place = index - len(self.inputs)
        assert self.well_lit is not None
        return {"well_lit": self.well_lit[place], "name": self.well_lit.names[place]}
