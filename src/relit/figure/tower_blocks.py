"""The blocks of image towers that CLIP-RestoreX's figures look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relit.errors import ConfigurationError

if TYPE_CHECKING:
    from relit.frozen_tower import FrozenTower
    from relit.run_context import RunContext

BLOCKS = (1, 3, 7, 11)
"""Counted from 1, as in the paper's Figures 6 and 7."""


def prior_tower(context: RunContext) -> FrozenTower:
    """The tower of ``clip.prior``, where the run computes.

    Raises:
        ConfigurationError: there is none, or it has fewer blocks.
    """
    tower: FrozenTower | None = context.clip.get("prior")
    if tower is None:
        raise ConfigurationError(
            f"{context.run_dir}: its configuration names no clip.prior. Draw a run with one, such as "
            "clip=openai_prior or tiny_prior."
        )
    return checked(tower).to(context.device)


def checked(tower: FrozenTower) -> FrozenTower:
    """``tower`` itself.

    Raises:
        ConfigurationError: it has fewer blocks.
    """
    if tower.block_count < max(BLOCKS):
        raise ConfigurationError(
            f"{tower.identity.model}: has {tower.block_count} transformer blocks, and the figure shows "
            f"blocks {', '.join(str(block) for block in BLOCKS)}. Use a ViT such as ViT-B-32 or tiny-ViT."
        )
    return tower
