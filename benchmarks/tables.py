"""What benchmarks measured, as tables to print and to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Cell = float | str | None


@dataclass(frozen=True)
class Table:
    """Named rows of figures.

    Attributes:
        title: what was measured.
        columns: what stands in each column, with its unit.
        rows: a cell for each column, by the row's name; None where nothing was measured.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]

    def __str__(self) -> str:
        shown = [["", *self.columns], *([name, *map(_shown, cells)] for name, cells in self.rows.items())]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
            for line in shown
        ]
        return "\n".join([self.title, *lines, ""])

    def plain(self) -> dict[str, object]:
        """For JSON."""
        rows = {name: dict(zip(self.columns, cells, strict=True)) for name, cells in self.rows.items()}
        return {"title": self.title, "rows": rows}


def speedups(title: str, rows: Sequence[tuple[str, float, float, str]]) -> Table:
    """How many times as fast Relit is.

    Args:
        title: of the table.
        rows: name, seconds of the straightforward way, seconds of Relit, the goal in words.
    """
    columns = ("straightforward, s", "Relit, s", "ratio", "goal")
    return Table(title, columns, {name: (a, b, a / b, goal) for name, a, b, goal in rows})


def costs(title: str, rows: Sequence[tuple[str, float, float, str]]) -> Table:
    """How many times as long something takes with what the row is named after.

    Args:
        title: of the table.
        rows: name, seconds without, seconds with, the goal in words.
    """
    columns = ("without, s", "with, s", "ratio", "goal")
    return Table(title, columns, {name: (a, b, b / a, goal) for name, a, b, goal in rows})


def _shown(cell: Cell) -> str:
    """Three digits or more of a number."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if cell >= 1000 else f"{cell:#.3g}".rstrip(".")
