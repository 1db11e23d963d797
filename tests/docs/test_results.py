"""docs/RESULTS.md: what its Python prints, here of other photographs, is what it says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import replicas
from markdown_page import MarkdownPage
from PIL import Image

PAGE = MarkdownPage("docs/RESULTS.md")


def printed_by_the_page(capsys: pytest.CaptureFixture[str], data: str = "SICEV2") -> list[list[str]]:
    """Rows that the block on fixed curves of ``data`` prints in the working directory."""
    (block,) = [block.text for block in PAGE.blocks if block.language == "python" and data in block.text]
    exec(compile(block, PAGE.name, "exec"), {})
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()
    ]


def psnr_by_hand(low: Path, gamma: float) -> float:
    """Of a photograph of 256 x 256, rounded to 8 bits, in dB."""
    photo, reference = (
        np.asarray(Image.open(path)).astype(float) for path in (low, low.parents[1] / "mid" / low.name)
    )
    result = np.round((photo / 255) ** gamma * 255)
    return float(10 * np.log10(255**2 / np.mean((result - reference) ** 2)))


def test_fixed_curves_are_measured_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lows = [Path(f"SICEV2/test/low/{scene}.png") for scene in (1, 2)]
    for low in lows:
        for folder in ("low", "mid"):
            replicas.put(low.parents[1] / folder / low.name, 256, 256)
    rows = printed_by_the_page(capsys)
    assert [row[0] for row in rows] == [row[0] for row in PAGE.table("gamma")]
    for gamma, psnr, _ in rows:
        expected = np.mean([psnr_by_hand(low, float(gamma)) for low in lows])
        assert float(psnr) == pytest.approx(expected, abs=0.006)


@pytest.mark.slow
def test_the_table_of_fixed_curves_is_what_they_give(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shared / "photos")
    assert printed_by_the_page(capsys) == PAGE.table("gamma")


@pytest.mark.slow
def test_the_table_of_curves_on_the_sample_is_what_they_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed_by_the_page(capsys, "SamplePhotos") == PAGE.table("nothing learned")
