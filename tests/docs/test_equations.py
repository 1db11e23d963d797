"""README's tables of equations: all of both papers, once each, and the code they name says so itself."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import reduce
from pathlib import PurePosixPath

import pytest
from markdown_page import ROOT, MarkdownPage

NUMBERED = {"CLIP-LIT": 8, "CLIP-RestoreX": 10}
"""How many numbered equations the papers have."""

README = MarkdownPage("README.md")


def rows(paper: str) -> list[tuple[int, list[tuple[str, str]]]]:
    """The number of each row's equation, and the symbols and files that its last cell links."""
    found = []
    for equation, _, code in README.table(paper):
        number = re.fullmatch(r"Eq\. \((\d+)\)", equation)
        assert number, f"{equation!r} is no number of one equation"
        found.append((int(number[1]), re.findall(r"\[`([\w.]+)`\]\((src/[\w/]+\.py)\)", code)))
    return found


@pytest.mark.parametrize("paper", NUMBERED)
def test_every_numbered_equation_has_one_row(paper: str) -> None:
    assert [number for number, _ in rows(paper)] == list(range(1, NUMBERED[paper] + 1))


@pytest.mark.parametrize("paper", NUMBERED)
def test_the_code_of_a_row_exists_and_names_its_equation(paper: str) -> None:
    for number, places in rows(paper):
        assert places, f"{paper} Eq. ({number}) names no code"
        for symbol, file in places:
            module = importlib.import_module(".".join(PurePosixPath(file).with_suffix("").parts[1:]))
            code = reduce(getattr, symbol.split("."), module)
            assert inspect.getsourcefile(code) == str(ROOT / file), f"{symbol} is defined elsewhere"
            told = inspect.getdoc(code) or ""
            assert f"{paper} Eq. ({number})" in told, f"{symbol} does not say {paper} Eq. ({number})"
