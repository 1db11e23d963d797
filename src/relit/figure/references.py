"""CLIP-LIT Fig. 13: results of runs that were trained with other well-lit references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.figure.lit_photographs import photographs
from relit.figure.side_by_side import side_by_side
from relit.run_context import RunContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def references(runs: Sequence[Path], photos: Sequence[str] = ()) -> Figure:
    """The first run's photographs as every run enhances them, each under its references' folders.

    Args:
        runs: of CLIP-LIT.
        photos: names of those to show.

    Raises:
        ConfigurationError: a run is not finished, or there is no such photograph.
    """
    return side_by_side(runs, photos, photographs, _head)


def _head(context: RunContext) -> str:
    folders = context.cfg["data"].get("well_lit")
    run = context.run_dir.resolve().name
    if not folders:
        return run
    names = [Path(folder).name for folder in ([folders] if isinstance(folders, str) else folders)]
    return f"{run}\n{' + '.join(names)}"
