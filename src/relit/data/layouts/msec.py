"""MSEC: raw photographs rendered at five exposures, and retouched by five experts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from relit.data.files import find_folder, photos_in, same_name
from relit.data.layouts.fivek import fivek_scene
from relit.data.layouts.layout import Counts, Layout, missing_folders
from relit.data.rows import Finding, Listing, Row, Split
from relit.errors import ConfigurationError

EXPERTS = ("a", "b", "c", "d", "e")
EXPOSURE_LABELS = {"N1.5": "under", "N1": "under", "0": "over", "P1": "over", "P1.5": "over"}
"""By the exposure at the end of an input's name, in EV; as in published tables, 0 counts as over-exposed."""


@dataclass(frozen=True)
class MSEC(Layout):
    """``training`` and ``validation`` with ``INPUT_IMAGES`` and ``GT_IMAGES``, and ``testing``.

    The input ``a0001-name_N1.5.JPG`` belongs to the reference ``a0001-name.jpg``.

    Attributes:
        expert: whose retouched photographs are the references of the test split: ``a`` to ``e``, or ``all``,
            one after the other.
    """

    expert: str = "c"

    name = "msec"
    title = "MSEC"
    protocol = "msec"
    homes = ("MSEC",)
    marks = ("training/INPUT_IMAGES", "testing/INPUT_IMAGES")
    counts: ClassVar[Counts] = {"train": 17675, "val": 750, "test": 5905}
    source = "https://github.com/mahmoudnafifi/Exposure_Correction"
    licence = "made of MIT-Adobe FiveK, which is for research"
    notes = (
        "most figures are of expert C; shares scenes with LCDP: training on one, testing on the other leaks"
    )
    scenes = "fivek"

    def __post_init__(self) -> None:
        if self.expert not in (*EXPERTS, "all"):
            raise ConfigurationError(
                f"data.layout.expert: no expert {self.expert!r}. There are {', '.join(EXPERTS)}, and all"
            )

    def rows(self, home: Path) -> Listing:
        """Every exposure with its reference; ``under`` is -1 and -1.5 EV, ``over`` the rest."""
        listing = exposure_rows(home, "training", "GT_IMAGES", "train")
        listing += exposure_rows(home, "validation", "GT_IMAGES", "val")
        for expert in EXPERTS if self.expert == "all" else (self.expert,):
            listing += self._tested(home, expert)
        return listing

    def is_complete(self, home: Path, rows: Iterable[Row], split: Split) -> bool:
        """As for every data set; the test split is of one expert, for figures over several are not MSEC's."""
        rows = list(rows)
        pairs = {(row.input, row.reference) for row in rows if row.split == split}
        return super().is_complete(home, rows, split) and len(pairs) == self.found(rows, split)

    def in_manifest(self) -> tuple[Layout, str]:
        """One reference for each photograph: of expert C, where all were asked for."""
        if self.expert != "all":
            return self, ""
        return replace(self, expert="c"), "references of the test split are those of expert C alone"

    def _tested(self, home: Path, expert: str) -> Listing:
        """Rows of the test split; of all experts' folders, only that of expert C must be there."""
        references = f"expert_{expert}_testing_set"
        folder = find_folder(home, f"testing/{references}")
        if self.expert == "all" and expert != "c" and missing_folders(folder, split="test"):
            message = f"no references of expert {expert.upper()}: most figures are of expert C"
            return Listing(findings=[Finding("missing", str(folder), message, fault=False)])
        return exposure_rows(home, "testing", references, "test")


def exposure_rows(home: Path, folder: str, references: str, split: Split) -> Listing:
    """Rows of one split, several inputs to a reference."""
    sources, targets = (find_folder(home, f"{folder}/{name}") for name in ("INPUT_IMAGES", references))
    missing = missing_folders(sources, targets, split=split)
    if missing:
        return Listing(findings=missing)
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for path in photos_in(targets):
        by_name[same_name(path.stem)].append(path)
    listing = Listing()
    for path in photos_in(sources):
        name, _, exposure = path.stem.rpartition("_")
        label = EXPOSURE_LABELS.get(exposure.upper())
        found = by_name.get(same_name(name), [])
        if label is None:
            message = f"does not end in an exposure, one of _{', _'.join(EXPOSURE_LABELS)}"
            listing.findings.append(Finding("name", str(path), message))
        elif len(found) == 1:
            listing.rows.append(Row(path, found[0], split, label, fivek_scene(found[0])))
        else:
            message = f"{len(found) or 'no'} references in {targets.name}"
            listing.findings.append(Finding("unmatched", str(path), message))
    used = {row.reference for row in listing.rows}
    for path in (path for found in by_name.values() for path in found if path not in used):
        listing.findings.append(Finding("unmatched", str(path), f"no input in {sources.name}"))
    return listing
