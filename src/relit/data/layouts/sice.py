"""SICE as published: exposure brackets, of which two photographs are inputs and one is the reference."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from relit.data.files import find_folder, photos_in
from relit.data.layouts.layout import Counts, Layout
from relit.data.rows import Finding, Listing, Row, Split
from relit.errors import ConfigurationError


@dataclass(frozen=True)
class SICE(Layout):
    """``Dataset_Part1/<id>/N.JPG`` and ``Dataset_Part2/<id>/N.JPG``, and ``Label/<id>`` in either part.

    The second and the last but one exposure are the inputs. Where a number is left out or taken twice, they
    might be others, and the bracket is left out. No split of the brackets is published: 30 scenes, drawn once
    for all from the published numbers, are the test split here, and figures on them compare with no published
    ones.

    Attributes:
        reference: ``middle``, the exposure in the middle of the bracket (the brighter of two), or ``label``,
            the photograph that the data set's authors fused.
    """

    reference: str = "middle"

    name = "sice"
    title = "SICE (brackets)"
    protocol = "sice"
    homes = ("SICE",)
    marks = ("Dataset_Part1", "Dataset_Part2")
    counts: ClassVar[Counts] = {"test": 60}
    source = "https://github.com/csjcai/SICE"
    licence = "not stated"
    notes = (
        "589 brackets of 4,413 photographs, and a fused one of each; the split is ours: figures on its 30 "
        "test scenes compare with no published ones"
    )
    brackets: ClassVar[Mapping[str, int]] = {"part1": 360, "part2": 229}
    """How many brackets each part has; they are numbered from 1."""
    photographs: ClassVar[int] = 4413
    """How many photographs are in all brackets."""
    tested: ClassVar[int] = 30
    """How many of them are the test split."""

    def __post_init__(self) -> None:
        if self.reference not in ("middle", "label"):
            raise ConfigurationError(
                f"data.layout.reference: no reference {self.reference!r}. There are middle and label"
            )

    @cached_property
    def test_scenes(self) -> frozenset[str]:
        """Scenes of the test split (``part1/12``), whichever of them are there."""
        scenes = [f"{part}/{i}" for part, count in self.brackets.items() for i in range(1, count + 1)]
        return frozenset(sorted(scenes, key=_draw)[: self.tested])

    def rows(self, home: Path) -> Listing:
        """Two rows of each bracket, ``under`` and ``over``, by part and number."""
        listing = Listing()
        for part in self.brackets:
            listing += self._part(home, part)
        listing.findings += self._count_findings(home)
        return listing

    def files(self, home: Path, rows: Iterable[Row]) -> Sequence[Path]:
        """Every exposure and every label, because under, over and middle are counted in whole brackets."""
        files = [*super().files(home, rows)]
        for part in self.brackets:
            folder = _part_folder(home, part)
            folders = [*_brackets(folder).values(), _label_folder(home, part, folder)]
            files += [path for folder in folders if folder.is_dir() for path in photos_in(folder)]
        return list(dict.fromkeys(files))

    def whole(self, path: Path) -> Path:
        """The bracket that an exposure is of: with one less, the others would be numbered otherwise."""
        return path.parent if path.parent.name.isdecimal() else path

    def _count_findings(self, home: Path) -> list[Finding]:
        brackets = [path for part in self.brackets for path in _brackets(_part_folder(home, part)).values()]
        found, count = sum(len(photos_in(path)) for path in brackets), sum(self.brackets.values())
        if (found, len(brackets)) == (self.photographs, count):
            return []
        published = f"{self.photographs:,} in {count:,}"
        message = f"{found:,} photographs in {len(brackets):,} brackets instead of {published}"
        return [Finding("count", str(home), message, fault=False)]

    def _part(self, home: Path, part: str) -> Listing:
        folder = _part_folder(home, part)
        if not folder.is_dir():
            return Listing(findings=[Finding("missing", str(folder), "folder of brackets does not exist")])
        fused = _label_folder(home, part, folder)
        labels = _numbered(photos_in(fused)) if fused.is_dir() else {}
        listing = Listing()
        if not labels:
            message = "no folder of references, or none in it"
            listing.findings.append(Finding("missing", str(fused), message, fault=self.reference == "label"))
        found = _brackets(folder)
        for number in sorted({*found, *range(1, self.brackets[part] + 1)}):
            scene = f"{part}/{number}"
            split: Split = "test" if scene in self.test_scenes else "train"
            if number not in found:
                message = f"bracket of the {split} split does not exist"
                listing.findings.append(
                    Finding("missing", str(folder / str(number)), message, fault=split == "test")
                )
                continue
            if labels and len(labels.get(number, [])) != 1:
                message = f"{len(labels.get(number, [])) or 'no'} references in Label"
                listing.findings.append(
                    Finding("unmatched", str(found[number]), message, fault=self.reference == "label")
                )
            listing += self._bracket(found[number], split, scene, labels.get(number, []))
        return listing

    def _bracket(self, folder: Path, split: Split, scene: str, labels: list[Path]) -> Listing:
        photos = photos_in(folder)
        numbered = _numbered(photos)
        findings = [
            Finding("name", str(path), "not a number") for path in photos if not path.stem.isdecimal()
        ]
        misnumbered = _numbering_findings(folder, numbered)
        listing = Listing(findings=[*findings, *misnumbered])
        exposures = [path for number in sorted(numbered) for path in numbered[number]]
        # Below these, two of under, over and reference are one photograph.
        needed = 5 if self.reference == "middle" else 4
        if misnumbered:
            return listing
        if len(exposures) < needed:
            message = f"{len(exposures)} exposures: {needed} are needed for under, over and reference"
            # Some published brackets have three; fewer are the rest of a broken copy.
            listing.findings.append(Finding("count", str(folder), message, fault=len(exposures) < 3))
        elif self.reference == "middle" or len(labels) == 1:
            reference = labels[0] if self.reference == "label" else exposures[len(exposures) // 2]
            listing.rows += [
                Row(exposures[1], reference, split, "under", scene),
                Row(exposures[-2], reference, split, "over", scene),
            ]
        return listing


def _draw(scene: str) -> bytes:
    return hashlib.blake2b(f"SICE test {scene}".encode(), digest_size=8).digest()


def _label_folder(home: Path, part: str, folder: Path) -> Path:
    """Inside the part; some copies have that of part 1 beside it."""
    inside, beside = find_folder(folder, "Label"), find_folder(home, "Label")
    return beside if part == "part1" and beside.is_dir() and not inside.is_dir() else inside


def _part_folder(home: Path, part: str) -> Path:
    return find_folder(home, f"Dataset_{part.capitalize()}")


def _brackets(folder: Path) -> dict[int, Path]:
    """Folders of brackets by number; links to folders are followed."""
    if not folder.is_dir():
        return {}
    return {
        int(path.name): path for path in sorted(folder.iterdir()) if path.name.isdecimal() and path.is_dir()
    }


def _numbered(photos: list[Path]) -> dict[int, list[Path]]:
    """Photographs by the number that is their name."""
    numbered = defaultdict(list)
    for path in photos:
        if path.stem.isdecimal():
            numbered[int(path.stem)].append(path)
    return dict(numbered)


def _numbering_findings(folder: Path, numbered: Mapping[int, list[Path]]) -> list[Finding]:
    """Numbers that are left out or taken twice: under, over and middle might be others."""
    findings = []
    gaps = [str(number) for number in range(1, max(numbered, default=0)) if number not in numbered]
    if gaps:
        message = f"no exposure {', '.join(gaps)} of 1 to {max(numbered)}"
        findings.append(Finding("missing", str(folder), message))
    for number, paths in numbered.items():
        if len(paths) > 1:
            findings.append(Finding("name", str(folder), f"{len(paths)} exposures {number}"))
    return findings
