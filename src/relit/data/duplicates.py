"""Files with the same content under different names."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from relit.data.rows import Row


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


def counted_once(rows: Sequence[Row], key: str) -> list[Row]:
    """``rows`` without those whose input and reference are copies of another row's; one warning names them.

    Args:
        rows: of one split.
        key: the configuration key that they come from, for the warning.
    """
    first = {
        path: group[0]
        for paths in ([row.input for row in rows], [row.reference for row in rows if row.reference])
        for group in same_content(paths)
        for path in group
    }
    alike: defaultdict[tuple[Path | None, Path | None], list[Row]] = defaultdict(list)
    for row in rows:
        alike[
            first.get(row.input, row.input), row.reference and first.get(row.reference, row.reference)
        ].append(row)
    # "0152.png" is the original of "0152(2).png", which stands before it
    originals = [min(group, key=lambda row: (len(row.input.name), row.input)) for group in alike.values()]
    copies = [
        f"{row.input.name} (a copy of {original.input.name})"
        for original, group in zip(originals, alike.values(), strict=True)
        for row in group
        if row is not original
    ]
    if copies:
        named = ", ".join(copies[:5]) + (f" and {len(copies) - 5} more" if len(copies) > 5 else "")
        warnings.warn(f"{key}: {len(copies)} of {len(rows)} are copies and count once: {named}", stacklevel=2)
    return originals
