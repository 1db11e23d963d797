"""The mark of reduced copies, by which they can't pass for the data set at its published size."""

from __future__ import annotations

import json
from pathlib import Path

from relit.atomic import atomic_write

MARK = "resized.json"


def mark_resized(folder: Path, name: str, long_side: int) -> None:
    """Mark ``folder`` as that of copies of the data set ``name``, at most ``long_side`` pixels a side."""
    atomic_write(folder / MARK, json.dumps({"of": name, "long_side": long_side}).encode())


def resized_to(folder: Path | str) -> int | None:
    """The long side in pixels that the photographs in ``folder`` were reduced to; None where they are not.

    The mark lies in ``folder`` or in one that it is below; links are followed.
    """
    folder = Path(folder).expanduser().resolve()
    for place in (folder, *folder.parents):
        try:
            content = json.loads((place / MARK).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and isinstance(content.get("long_side"), int):
            return content["long_side"]
    return None
