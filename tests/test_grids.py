"""Pictures side by side."""

from __future__ import annotations

import pytest
import torch

from relit.grids import GAP, comparison, panels


def test_panels_stand_in_order_with_white_between() -> None:
    before, after = torch.rand(3, 5, 4), torch.rand(3, 5, 7)
    grid = comparison([before, after])
    assert torch.equal(grid[..., :4], before)
    assert torch.equal(grid[..., 4 : 4 + GAP], torch.ones(3, 5, GAP))
    assert torch.equal(grid[..., 4 + GAP :], after)


def test_one_panel_stays_as_it_is() -> None:
    only = torch.rand(3, 5, 4)
    assert torch.equal(comparison([only]), only)


@pytest.mark.parametrize("count", [2, 3])
def test_a_grid_is_cut_into_the_panels_it_was_made_of(count: int) -> None:
    made = [torch.randint(0, 200, (3, 5, 7), dtype=torch.uint8) for _ in range(count)]
    found = panels((comparison([panel / 255 for panel in made]) * 255).round().to(torch.uint8))
    assert len(found) == count
    assert all(torch.equal(a, b) for a, b in zip(found, made, strict=True))


def test_a_photograph_is_no_grid() -> None:
    assert panels(torch.randint(0, 200, (3, 5, 18), dtype=torch.uint8)) == []
