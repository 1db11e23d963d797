"""CLIP-LIT Fig. 7: how results change from round to round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from relit.clip_lit.judging import enhancer, with_result
from relit.clip_lit.rounds import changed
from relit.figure.finished import open_finished
from relit.figure.lit_photographs import chosen
from relit.figure.pictures import Cell, Row, picture_grid, reduced
from relit.metrics import image_psnr
from relit.weights import Weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relit.run_context import RunContext

_PHOTOGRAPHS = 3
_COLUMNS = 5
"""Rounds shown at most: the first, the last, and some between."""


def rounds(run: Path, photos: Sequence[str] = ()) -> Figure:
    """Input, the results of the rounds, and the reference where there is one, with PSNR to it.

    Round 0 is the enhancement before the first refinement.

    Args:
        run: a run of CLIP-LIT.
        photos: names of those to show.

    Raises:
        ConfigurationError: the run has no such photograph, or its stages are gone.
    """
    context = open_finished(run)
    shown = weights_by_round(context, "enhancer", _COLUMNS)
    pairs = chosen(context, photos, _PHOTOGRAPHS)
    found: list[list[Cell]] = [[] for _ in pairs]
    for weights in shown.values():
        network = enhancer(context, weights)
        for cells, (_, pictures) in zip(found, pairs, strict=True):
            result = with_result(network, pictures)["result"]
            cells.append(Cell(reduced(result), psnr_caption(result, pictures.get("reference"))))
    with_reference = all("reference" in pictures for _, pictures in pairs)
    rows = []
    for cells, (name, pictures) in zip(found, pairs, strict=True):
        first = Cell(pictures["input"], psnr_caption(pictures["input"], pictures.get("reference")))
        last = [Cell(pictures["reference"])] if with_reference else []
        rows.append(Row(name, [first, *cells, *last]))
    heads = ["input", *(f"round {number}" for number in shown), *(["reference"] * with_reference)]
    return picture_grid(heads, rows)


def weights_by_round(context: RunContext, group: str, most: int) -> dict[int, Weights]:
    """The weights after each round in which ``group`` changed: ``most`` of them, spread over all."""
    every = {planned.round: weights for planned, weights in changed(context, group)}
    numbers = list(every)
    if len(numbers) > most:
        numbers = [numbers[round(place * (len(numbers) - 1) / (most - 1))] for place in range(most)]
    return {number: every[number] for number in numbers}


@torch.no_grad()
def psnr_caption(picture: Tensor, reference: Tensor | None) -> str:
    """PSNR of a picture to its reference, both as 8 bits; empty where there is none."""
    if reference is None:
        return ""
    return f"PSNR {image_psnr(picture, reference).item():.1f} dB"
