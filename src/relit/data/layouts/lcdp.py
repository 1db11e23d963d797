"""LCDP: photographs that are too dark and too bright at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relit.data.layouts.fivek import fivek_scene
from relit.data.layouts.layout import Layout, pair_rows
from relit.data.rows import Listing


@dataclass(frozen=True)
class LCDP(Layout):
    """``input, gt``, ``valid-input, valid-gt`` and ``test-input, test-gt``, PNG with the same file names."""

    name = "lcdp"
    title = "LCDP"
    protocol = "lcdp"
    homes = ("lcdp_dataset", "LCDP")
    marks = ("input", "test-input")
    counts = {"train": 1415, "val": 100, "test": 218}  # noqa: RUF012 (a class variable by the base's annotation)
    source = "the link in LCDPNet's repository, https://github.com/onpix/LCDPNet"
    licence = "made of MIT-Adobe FiveK, which is for research"
    notes = "shares scenes with MSEC: training on one and testing on the other leaks"

    def rows(self, home: Path) -> Listing:
        """Every pair; the label is ``mixed``, because one photograph is under- and over-exposed."""
        return (
            pair_rows(home / "input", home / "gt", "train", "mixed", fivek_scene)
            + pair_rows(home / "valid-input", home / "valid-gt", "val", "mixed", fivek_scene)
            + pair_rows(home / "test-input", home / "test-gt", "test", "mixed", fivek_scene)
        )
