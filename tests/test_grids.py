"""Pictures side by side."""

from __future__ import annotations

import torch

from relit.grids import GAP, comparison


def test_panels_stand_in_order_with_white_between() -> None:
    before, after = torch.rand(3, 5, 4), torch.rand(3, 5, 7)
    grid = comparison([before, after])
    assert torch.equal(grid[..., :4], before)
    assert torch.equal(grid[..., 4 : 4 + GAP], torch.ones(3, 5, GAP))
    assert torch.equal(grid[..., 4 + GAP :], after)


def test_one_panel_stays_as_it_is() -> None:
    only = torch.rand(3, 5, 4)
    assert torch.equal(comparison([only]), only)
