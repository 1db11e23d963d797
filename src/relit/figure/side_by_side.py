"""The same photographs as several runs correct them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from relit.figure.chosen import choose
from relit.figure.finished import open_finished
from relit.figure.pictures import Cell, Row, picture_grid, reduced
from relit.figure.rounds import psnr_caption
from relit.method import load_method
from relit.run_context import RunContext
from relit.weights import WEIGHTS_FILE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relit.clip_lit.judging import ToJudge

_PHOTOGRAPHS = 4

Pictures = dict[str, Tensor]


def side_by_side(
    runs: Sequence[Path],
    photos: Sequence[str],
    photographs: Callable[[RunContext], ToJudge],
    head: Callable[[RunContext], str],
) -> Figure:
    """Input, what each run makes of it, and the reference where there is one, with PSNR to it.

    Args:
        runs: of one method; the photographs are the first one's.
        photos: names of those to show.
        photographs: of a run, those to choose from.
        head: what stands above a run's results.

    Raises:
        ConfigurationError: a run is not finished or its CLIP is not at hand; there is no such photograph.
    """
    first: RunContext | None = None
    pairs: list[tuple[str, Pictures]] = []
    heads, results = [], []
    for run in runs:
        context = open_finished(run, ("prior",))
        if first is None:
            first, found = context, photographs(context)
            pairs = [found.at(place) for place in choose(found.names, photos, _PHOTOGRAPHS)]
        method = load_method(run / WEIGHTS_FILE, context.device, context.clip.get("prior"))
        heads.append(head(context))
        results.append([method(pictures["input"]).to(context.device) for _, pictures in pairs])
    with_reference = all("reference" in pictures for _, pictures in pairs)
    rows = []
    for place, (name, pictures) in enumerate(pairs):
        reference = pictures.get("reference")
        shown = [pictures["input"], *(of_run[place] for of_run in results)]
        cells = [Cell(reduced(picture), psnr_caption(picture, reference)) for picture in shown]
        rows.append(Row(name, cells + [Cell(pictures["reference"])] * with_reference))
    return picture_grid(["input", *heads, *(["reference"] * with_reference)], rows)
