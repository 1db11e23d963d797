"""Every file and heading that a page of the project links exists."""

from __future__ import annotations

import re

import pytest
from markdown_page import ROOT, MarkdownPage

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "data/README.md",
    "src/relit/assets/tiny_clip.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = MarkdownPage(name)
    for text, target in page.links:
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.path.parent / file).resolve() if file else page.path
        assert path.is_relative_to(ROOT), f"{name} links {target} outside of the project"
        assert path.exists(), f"{name}: [{text}]({target}) leads nowhere"
        if anchor:
            other = MarkdownPage(str(path.relative_to(ROOT)))
            assert anchor in other.anchors, f"{name}: {target}: there is no such heading"


@pytest.mark.parametrize("name", PAGES)
def test_files_named_in_prose_exist(name: str) -> None:
    """Paths in code spans, such as ``src/relit/memory.py``: they rot as links do."""
    named = re.findall(r"`((?:src|conf|tests|docs|notebooks)/[\w/.]+\.\w+)`", MarkdownPage(name).prose)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_pages_are_linked_from_the_readme() -> None:
    linked = {target.partition("#")[0] for _, target in MarkdownPage("README.md").links}
    assert {name for name in PAGES if name not in ("README.md", "CHANGELOG.md", "data/README.md")} <= linked
