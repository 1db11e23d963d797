"""LCDP: photographs that are too dark and too bright at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from relit.data.files import find_folder
from relit.data.layouts.fivek import fivek_scene
from relit.data.layouts.layout import Counts, Layout, pair_rows
from relit.data.rows import Listing, Split


@dataclass(frozen=True)
class LCDP(Layout):
    """``input, gt``, ``valid-input, valid-gt`` and ``test-input, test-gt``, PNG with the same file names."""

    name = "lcdp"
    title = "LCDP"
    protocol = "lcdp"
    homes = ("lcdp_dataset", "LCDP")
    marks = ("input", "test-input")
    counts: ClassVar[Counts] = {"train": 1415, "val": 100, "test": 218}
    source = "the link in LCDPNet's repository, https://github.com/onpix/LCDPNet"
    licence = "made of MIT-Adobe FiveK, which is for research"
    notes = "shares scenes with MSEC: training on one and testing on the other leaks"
    scenes = "fivek"

    def rows(self, home: Path) -> Listing:
        """Every pair; the label is ``mixed``, because one photograph is under- and over-exposed."""
        return (
            self._pairs(home, "", "train")
            + self._pairs(home, "valid-", "val")
            + self._pairs(home, "test-", "test")
        )

    def _pairs(self, home: Path, prefix: str, split: Split) -> Listing:
        inputs, references = find_folder(home, f"{prefix}input"), find_folder(home, f"{prefix}gt")
        return pair_rows(inputs, references, split, "mixed", fivek_scene)
