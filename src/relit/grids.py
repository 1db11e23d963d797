"""Pictures side by side: before | after | reference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GAP = 4
"""White pixels between two panels."""


def comparison(panels: Sequence[Tensor]) -> Tensor:
    """Put panels (3, H, W) in [0, 1] of one height side by side: (3, H, sum of widths and gaps)."""
    gap = torch.ones(3, panels[0].shape[1], GAP)
    pieces = [piece for panel in panels for piece in (panel, gap)]
    return torch.cat(pieces[:-1], dim=2)
