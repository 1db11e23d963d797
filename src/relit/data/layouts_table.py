"""The known data sets as text."""

from __future__ import annotations

from relit.data.layouts import LAYOUTS
from relit.data.layouts.layout import Layout
from relit.data.rows import SPLITS

# What trains on a data set that has no configuration of its own.
_PART_OF = {"div2k": "baid"}


def layouts_table() -> str:
    """Names, published sizes, protocols and configurations, then where each data set comes from."""
    rows = [("name", "photographs", *SPLITS, "protocol", "train with")]
    rows += [_row(layout) for layout in LAYOUTS.values()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_aligned(row, widths) for row in rows]
    for layout in LAYOUTS.values():
        told = [f"from {layout.source}", f"licence: {layout.licence}", f"note: {layout.notes}"]
        names = [layout.name] + [""] * (len(told) - 1)
        lines += ["", *(f"{name:<{widths[0]}}  {line}" for name, line in zip(names, told, strict=True))]
    return "\n".join(lines)


def _row(layout: Layout) -> tuple[str, ...]:
    counts = [f"{layout.counts[split]:,}" if split in layout.counts else "-" for split in SPLITS]
    config = f"data={_PART_OF.get(layout.name, layout.name)}"
    protocol = "-" if layout.counts and "test" not in layout.counts else layout.protocol
    return layout.name, layout.title, *counts, protocol, config


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    """Cells side by side, the numbers of photographs to the right."""
    numbers = range(2, 2 + len(SPLITS))
    return "  ".join(
        f"{cell:{'>' if place in numbers else '<'}{width}}"
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()
