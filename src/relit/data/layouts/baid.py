"""BAID: backlit photographs in CLIP-LIT's split, beside the well-lit ones that it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from relit.data.files import find_folder
from relit.data.layouts.layout import Counts, Layout, pair_rows, single_rows
from relit.data.rows import Finding, Listing, Row


@dataclass(frozen=True)
class BAID(Layout):
    """``BAID_380/resize_input, DIV2K_384`` to train on, ``BAID/test/resize_input, resize_gt`` to test on."""

    name = "baid"
    title = "BAID (CLIP-LIT's split)"
    protocol = "baid"
    homes = ()
    marks = ("BAID_380/resize_input", "BAID/test/resize_input")
    counts: ClassVar[Counts] = {"train": 380, "test": 368}
    references: ClassVar[int] = 384
    """How many well-lit photographs come with it."""
    source = "the link in CLIP-LIT's repository, https://github.com/ZhexinLiang/CLIP-LIT"
    licence = "not stated"
    notes = "copies such as 0152(2).png are among the test photographs as published: they count once"

    def rows(self, home: Path) -> Listing:
        """Backlit and well-lit photographs to train on, and test pairs.

        Training and test files are numbered apart: equal numbers are different scenes.
        """
        inputs, references = (find_folder(home, f"BAID/test/resize_{kind}") for kind in ("input", "gt"))
        return (
            single_rows(find_folder(home, "BAID_380/resize_input"), "train", "backlit")
            + self._well_lit(find_folder(home, "DIV2K_384"))
            + pair_rows(inputs, references, "test", "backlit", lambda path: f"test/{path.stem}")
        )

    def _well_lit(self, folder: Path) -> Listing:
        """Others will do as well, but a part of them is most likely a broken download."""
        listing = single_rows(folder, "train", "well_lit")
        found = len(listing.rows)
        if found not in (0, self.references):
            message = f"{found:,} photographs instead of {self.references:,}"
            listing.findings.append(Finding("count", str(folder), message, fault=False))
        return listing

    def counted(self, row: Row) -> bool:
        """Backlit photographs: any number of well-lit ones will do."""
        return row.label == "backlit"
