"""README quotes docs/RESULTS.md, where each figure has its protocol, data and machine."""

from __future__ import annotations

import re

from markdown_page import MarkdownPage

README, RESULTS = MarkdownPage("README.md"), MarkdownPage("docs/RESULTS.md")
FIGURE = re.compile(r"(?<![\d.])\d+\.\d{2,3}(?![\d.])")
"""Decibels, SSIM and scores: two or three decimals, no part of longer numbers of versions."""


def test_every_figure_of_the_readme_is_one_of_the_results() -> None:
    shown = "".join(block.text for block in README.blocks if block.language == "text")
    figures = FIGURE.findall(re.sub(r"`[^`]*`|Python [\d.]+", "", README.prose) + shown)
    assert len(figures) > 20
    missing = sorted(set(figures) - set(FIGURE.findall(RESULTS.text)))
    assert missing == [], f"put {missing} into docs/RESULTS.md, with protocol, data and machine"
