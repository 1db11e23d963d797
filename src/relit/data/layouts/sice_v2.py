"""SICE in the split of ENC and FECNet: two badly exposed photographs of each scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from relit.data.files import find_folder
from relit.data.layouts.layout import Counts, Layout, pair_rows
from relit.data.rows import Finding, Listing, Split

_LABELS = {"low": "under", "over": "over"}


@dataclass(frozen=True)
class SICEV2(Layout):
    """``train`` and ``test`` with ``low``, ``over`` and the reference, ``mid`` or, in some copies, ``gt``."""

    name = "sice_v2"
    title = "SICE (ENC's split)"
    protocol = "sice"
    homes = ("SICEV2",)
    marks = ("train/low", "train/over", "test/low", "test/over")
    counts: ClassVar[Counts] = {"train": 1024, "test": 60}
    source = "the link in ENC's repository, https://github.com/KevinJ-Huang/ExposureNorm-Compensation"
    licence = "not stated"
    notes = (
        "figures are the mean over under- and over-exposed photographs: half of the test list is not enough"
    )

    def rows(self, home: Path) -> Listing:
        """Every pair, ``under`` first; the scene is the file's number."""
        return self._pairs(home, "train") + self._pairs(home, "test")

    def _pairs(self, home: Path, split: Split) -> Listing:
        references = [find_folder(home, f"{split}/{name}") for name in ("mid", "gt")]
        reference = next((folder for folder in references if folder.is_dir()), references[0])
        listing = Listing()
        for name, label in _LABELS.items():
            inputs = find_folder(home, f"{split}/{name}")
            listing += pair_rows(inputs, reference, split, label)
        labels = {row.label for row in listing.rows}
        if split == "test" and len(labels) == 1:
            message = f"only {labels.pop()}-exposed photographs: low and over are both required"
            listing.findings.append(Finding("count", split, message))
        return listing
