"""MIT-Adobe FiveK: which of its scenes a photograph shows, for the data sets that are made of it."""

from __future__ import annotations

import re
from pathlib import Path

from relit.data.files import same_name

_SCENE = re.compile(r"a\d{4}(?=-)")


def fivek_scene(path: Path) -> str:
    """FiveK's number of the scene (``a0016`` of ``a0016-jmac_MG_0795``), or the stem where there is none."""
    name = same_name(path.stem)
    found = _SCENE.match(name)
    return found.group() if found else name
