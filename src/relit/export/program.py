"""A module traced into a program of plain operators whose sizes stay open."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export

from relit.export.description import INPUT

EXAMPLE = (2, 3, 37, 45)
"""Sides that are multiples of nothing, so that no size is taken for granted."""


@torch.no_grad()
def traced(network: nn.Module, smallest: int) -> ExportedProgram:
    """``network``, from photographs to results of the same shape, for any number of them and any size.

    Args:
        network: called with photographs (B, 3, H, W).
        smallest: pixels that each side will have at least.
    """
    side = Dim.DYNAMIC(min=smallest)
    return export(network, (torch.rand(EXAMPLE),), dynamic_shapes={INPUT: {0: Dim.DYNAMIC, 2: side, 3: side}})
