"""What a Markdown page of the project holds: headings, links, tables, fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(<?([^()\s>]+)>?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: what stands behind the fence; empty where nothing does.
        text: its lines.
        heading: the nearest one above it.
    """

    language: str
    text: str
    heading: str


class MarkdownPage:
    """One page, by its path below the root of the project."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name
        self.text = self.path.read_text(encoding="utf-8")
        self.prose = _FENCE.sub("", self.text)

    @property
    def headings(self) -> list[str]:
        return re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)

    @property
    def anchors(self) -> set[str]:
        """What ``#...`` of a link may name, as GitHub makes it of headings."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in self.headings}

    @property
    def links(self) -> list[tuple[str, str]]:
        """Text and target of every link and picture outside blocks."""
        return _LINK.findall(self.prose)

    @property
    def blocks(self) -> list[Block]:
        found = []
        for match in _FENCE.finditer(self.text):
            above = re.findall(r"^#+ (.+)$", _FENCE.sub("", self.text[: match.start()]), re.MULTILINE)
            found.append(Block(match[1], match[2], above[-1] if above else ""))
        return found

    def table(self, first: str) -> list[list[str]]:
        """The rows below the head whose first cell is ``first``."""
        lines = iter(self.prose.splitlines())
        for line in lines:
            if _cells(line)[:1] == [first]:
                next(lines)  # the ruler
                return list(_rows(lines))
        raise AssertionError(f"{self.name} has no table that begins with {first!r}")


def _rows(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield _cells(line)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
