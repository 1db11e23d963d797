"""The foot of a figure: which runs it shows, and how its numbers were measured."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from relit.protocols import RGB8
from relit.report.run import Run, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Measured = Literal["PSNR", "S"]
"""What a figure's numbers are: PSNR of results, or scores of prompts."""

_SIZE = 7
_LETTERS = 17
"""Of that size in an inch."""


def add_foot(figure: Figure, runs: Sequence[Path], measured: Measured | None) -> None:
    """Write name, seed and steps of each run below the figure; the protocol too where numbers are shown.

    It stands outside the figure's own area: save with ``bbox_inches="tight"``.

    Args:
        figure: what was drawn.
        runs: run directories, the first one's photographs being shown.
        measured: what its numbers are; None where there are none that a protocol would change.
    """
    found = [read_run(run) for run in runs]
    said = [f"{run.name}: seed {run.config.get('seed')}, {run.steps:,} steps" for run in found]
    if measured is not None:
        said.append(_protocol(found[0], measured))
    lines = textwrap.wrap("  |  ".join(said), max(40, int(_LETTERS * figure.get_figwidth())))
    # below 0, for no layout leaves room for it
    figure.text(0.005, -0.012, "\n".join(lines), fontsize=_SIZE, color="0.35", va="top", parse_math=False)


def _protocol(run: Run, measured: Measured) -> str:
    size = (run.config.get("data") or {}).get("test_size")
    at = "" if size is None else f", data.test_size={size}"
    if measured == "PSNR":
        return f"PSNR: protocol {RGB8.name} (RGB, rounded to 8 bits){at}"
    clip = run.config.get("clip") or {}
    tower = clip.get("prompts") or {}
    by = f"{tower.get('model')} {Path(str(tower.get('pretrained'))).name}"
    return f"scores: {by}, logit scale {clip.get('logit_scale')}, photographs rounded to 8 bits{at}"
