"""Is a data set whole, as published, and free of what makes figures on it wrong?"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from relit.data.condition import Condition, conditions
from relit.data.duplicates import duplicate_findings, originals
from relit.data.few import few
from relit.data.layouts.layout import Layout
from relit.data.leaks import cross_leaks, leak_findings
from relit.data.resized import resized_to
from relit.data.rows import SPLITS, Finding, Listing, Row, Split
from relit.data.sizes import size_mismatch

# The order that findings are told in.
KINDS = ("missing", "count", "name", "unmatched", "unreadable", "size", "duplicate", "leak")


class Count(NamedTuple):
    """Input photographs of a split: those that are listed, and as published, where that is known."""

    found: int
    published: int | None


@dataclass(frozen=True)
class Report:
    """What :func:`verify` found.

    Attributes:
        name, title: of the data set.
        root: where it was looked for.
        home: where it is.
        counts: by split.
        findings: at most one of a kind for each file, folder or split, sorted by kind and place.
        deep: whether every file was decoded.
    """

    name: str
    title: str
    root: Path
    home: Path
    counts: Mapping[Split, Count]
    findings: Sequence[Finding]
    deep: bool

    @property
    def faults(self) -> list[Finding]:
        """Findings that make figures or training wrong; the others are notices."""
        return [finding for finding in self.findings if finding.fault]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "root": str(self.root),
            "home": str(self.home),
            "deep": self.deep,
            "counts": {split: count._asdict() for split, count in self.counts.items()},
            "faults": len(self.faults),
            "findings": [
                {"kind": one.kind, "where": one.where, "message": one.message, "fault": one.fault}
                for one in self.findings
            ],
        }


def verify(
    layout: Layout,
    root: Path | str,
    deep: bool = False,
    against: Sequence[tuple[Layout, Path | str]] = (),
    progress: bool = False,
) -> Report:
    """Check a data set against its layout.

    Args:
        layout: what it should look like.
        root: the folder that holds it.
        deep: whether every file is decoded; otherwise headers, ends and names are looked at.
        against: data sets and their roots whose scenes must not be on the other side of training and test.
        progress: whether a bar on the standard error stream tells how far this is.

    Raises: :class:`~relit.errors.ConfigurationError` when the data set, or one of ``against``, is not there.
    """
    listing, home = layout.list(root), layout.home(root)
    others = [(other, other.list(place).rows) for other, place in against]
    rows = listing.rows
    counts = _counts(rows, layout, home)
    files = layout.files(home, rows)
    condition = conditions(files, deep, progress)
    readable = [path for path, found in condition.items() if not isinstance(found, str)]
    original = originals([*readable, *(path for _, other in others for row in other for path in row.files)])
    findings = [
        *listing.findings,
        *_count_findings(counts, listing),
        *_name_findings(files),
        *_unreadable_findings(condition, needed={path for row in rows for path in row.files}),
        *_resized_findings(home),
        *_size_findings(rows, condition),
        *duplicate_findings(rows, original),
        *leak_findings(rows, original),
    ]
    for other, other_rows in others:
        by_scene = layout.scenes is not None and layout.scenes == other.scenes
        findings += _cross_findings((layout, rows), (other, other_rows), original, by_scene)
        findings += _cross_findings((other, other_rows), (layout, rows), original, by_scene)
    return Report(layout.name, layout.title, Path(root), home, counts, _merged(findings), deep)


def _counts(rows: Sequence[Row], layout: Layout, home: Path) -> dict[Split, Count]:
    published = layout.published(home)
    found = {split: layout.found(rows, split) for split in SPLITS}
    return {
        split: Count(found[split], published.get(split))
        for split in SPLITS
        if found[split] or split in published
    }


def _count_findings(counts: Mapping[Split, Count], listing: Listing) -> Iterator[Finding]:
    """Splits that are not as large as published: a fault where figures are measured on them."""
    missing = any(finding.kind == "missing" for finding in listing.findings)
    for split, (found, published) in counts.items():
        # Where a whole split is missing, its folders are named already.
        if published is None or found == published or (not found and missing):
            continue
        why = "" if split == "train" else ": figures on it compare with no published ones"
        message = f"{found:,} photographs instead of {published:,}{why}"
        yield Finding("count", split, message, fault=split != "train")


def _name_findings(files: Iterable[Path]) -> Iterator[Finding]:
    for path in files:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            message = "its name is no Unicode text: a manifest can't hold it, rename it"
            yield Finding("name", str(path), message, fault=False)


def _unreadable_findings(condition: Mapping[Path, Condition], needed: Container[Path]) -> Iterator[Finding]:
    for path, found in condition.items():
        if isinstance(found, str):
            yield Finding("unreadable", str(path), found, fault=path in needed)


def _resized_findings(home: Path) -> Iterator[Finding]:
    long_side = resized_to(home)
    if long_side is not None:
        message = f"copies reduced to {long_side} pixels: figures compare with no published ones"
        yield Finding("size", str(home), message, fault=False)


def _size_findings(rows: Sequence[Row], condition: Mapping[Path, Condition]) -> Iterator[Finding]:
    for row in rows:
        source = condition[row.input]
        target = condition[row.reference] if row.reference is not None else source
        if isinstance(source, str) or isinstance(target, str):
            continue
        reason = size_mismatch(source, target)
        if reason and row.reference is not None:
            reference = f"{row.reference.parent.name}/{row.reference.name}"
            yield Finding("size", str(row.input), f"{reason} ({reference})")


def _cross_findings(
    learned: tuple[Layout, Sequence[Row]],
    tested: tuple[Layout, Sequence[Row]],
    original: Mapping[Path, Path],
    by_scene: bool,
) -> Iterator[Finding]:
    (one, rows), (other, other_rows) = learned, tested
    for split, scenes in cross_leaks(rows, other_rows, original, by_scene):
        message = (
            f"{len(scenes)} of the scenes in {one.title}'s {split} split also in {other.title}'s test split "
            f"({few(scenes)}): a test on {other.title} after training on {one.title} leaks"
        )
        yield Finding("leak", f"{one.name} {split}, {other.name} test", message)


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each kind and place, a fault if one of them is, sorted."""
    places: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        places.setdefault((one.kind, one.where), []).append(one)
    merged = [
        Finding(kind, where, "; ".join({one.message: None for one in same}), any(one.fault for one in same))
        for (kind, where), same in places.items()
    ]
    return sorted(merged, key=lambda one: (KINDS.index(one.kind), not one.fault, one.where))
