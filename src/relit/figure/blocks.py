"""CLIP-RestoreX Fig. 5: results of runs whose priors come from other blocks of CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.figure.paired_photographs import photographs
from relit.figure.side_by_side import side_by_side
from relit.run_context import RunContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blocks(runs: Sequence[Path], photos: Sequence[str] = ()) -> Figure:
    """The first run's photographs as every run corrects them, each under the blocks of its priors.

    Args:
        runs: of CLIP-RestoreX.
        photos: names of those to show.

    Raises:
        ConfigurationError: a run is not finished or its CLIP is not at hand; there is no such photograph.
    """
    return side_by_side(runs, photos, photographs, _head)


def _head(context: RunContext) -> str:
    priors = (context.cfg.get("network") or {}).get("priors") or {}
    run, of = context.run_dir.resolve().name, priors.get("blocks")
    if of:
        return f"{run}\nblocks {'-'.join(str(block) for block in of)}"
    return f"{run}\n{'priors without CLIP' if priors else 'no priors'}"
