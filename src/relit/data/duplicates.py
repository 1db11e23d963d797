"""Files with the same content under different names."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from relit.data.few import few
from relit.data.files import same_name
from relit.data.rows import Finding, Row

# What file managers append to the name of a copy, as in "0152(2)".
_COPY = re.compile(r"(.+?) ?\(\d+\)")


def content_key(path: Path) -> str:
    """A digest of the file's bytes.

    Raises: :class:`OSError` when it can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two and more files with equal bytes, in the order given; files that can't be read are none.

    Only files of equal length are read, so this is cheap where contents differ.
    """
    by_length: defaultdict[int, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        try:
            by_length[path.stat().st_size].append(path)
        except OSError:
            continue
    groups: dict[str, list[Path]] = {}
    for alike in by_length.values():
        for path in alike if len(alike) > 1 else ():
            try:
                groups.setdefault(content_key(path), []).append(path)
            except OSError:
                continue
    return [group for group in groups.values() if len(group) > 1]


def originals(paths: Iterable[Path]) -> dict[Path, Path]:
    """Every file that has copies, and the copies, to the first of them; other files are left out."""
    return {path: group[0] for group in same_content(paths) for path in group}


def counted_once(rows: Sequence[Row], key: str) -> list[Row]:
    """``rows`` without those whose input and reference are copies of another row's; one warning names them.

    The first of them is kept, but one that is not named like a copy, such as ``0152(2)``, goes before.

    Args:
        rows: of one split.
        key: the configuration key that they come from, for the warning.
    """
    original = originals(row.input for row in rows) | originals(
        row.reference for row in rows if row.reference
    )
    kept: dict[tuple[Path, Path | None], int] = {}
    copies = []
    for index in _copies_last(rows):
        content = _content(rows[index], original)
        if content in kept:
            copies.append(f"{rows[index].input.name} (a copy of {rows[kept[content]].input.name})")
        else:
            kept[content] = index
    if copies:
        said = f"{key}: {len(copies)} of {len(rows)} are copies and count once: {few(copies)}"
        warnings.warn(said, stacklevel=2)
    return [rows[index] for index in sorted(kept.values())]


def duplicate_findings(rows: Sequence[Row], original: Mapping[Path, Path]) -> list[Finding]:
    """Inputs that equal their reference: a fault; copies of inputs in their own split: a notice.

    Args:
        rows: of all splits.
        original: from :func:`originals`, of all their files.
    """
    findings = []
    inputs: dict[tuple[str, Path], Row] = {}
    pairs: dict[tuple[str, Path, Path | None], Row] = {}
    names = {(row.input.parent, same_name(row.input.stem)) for row in rows}
    for row in (rows[index] for index in _copies_last(rows)):
        source, target = _content(row, original)
        first_pair = pairs.setdefault((row.split, source, target), row)
        first = inputs.setdefault((row.split, source), row)
        named = _COPY.fullmatch(row.input.stem)
        if source == target:
            findings.append(Finding("duplicate", str(row.input), "is its own reference, byte for byte"))
        if first_pair.input != row.input:
            message = f"a copy of {first_pair.input.name}: they count once"
        elif first.input != row.input:
            message = f"a copy of {first.input.name} with another reference: both count"
        elif named and (row.input.parent, same_name(named[1])) in names:
            message = f"by its name a copy of {named[1]}, but its content differs: both count"
        else:
            continue
        findings.append(Finding("duplicate", str(row.input), message, fault=False))
    return findings


def _copies_last(rows: Sequence[Row]) -> list[int]:
    """Indices of rows, those that are named like copies after the others: "0152(2)" sorts before "0152."."""
    return sorted(range(len(rows)), key=lambda index: _COPY.fullmatch(rows[index].input.stem) is not None)


def _content(row: Row, original: Mapping[Path, Path]) -> tuple[Path, Path | None]:
    reference = original.get(row.reference, row.reference) if row.reference else None
    return original.get(row.input, row.input), reference
