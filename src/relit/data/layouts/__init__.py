"""Published data sets as they lie on disk, one per file."""

from __future__ import annotations

from difflib import get_close_matches

from relit.data.layouts.backlit300 import Backlit300
from relit.data.layouts.baid import BAID
from relit.data.layouts.div2k import DIV2K
from relit.data.layouts.layout import Layout
from relit.data.layouts.lcdp import LCDP
from relit.data.layouts.msec import MSEC
from relit.data.layouts.sice import SICE
from relit.data.layouts.sice_v2 import SICEV2
from relit.errors import ConfigurationError

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (BAID(), Backlit300(), DIV2K(), LCDP(), MSEC(expert="all"), SICE(), SICEV2())
}
"""By name, with everything that is published: all experts of MSEC."""


def find_layout(name: str) -> Layout:
    """The layout of this name.

    Raises: :class:`ConfigurationError` when there is none; it names those that are spelled alike.
    """
    if name not in LAYOUTS:
        alike = get_close_matches(name.lower(), LAYOUTS, cutoff=0.5)
        hint = f": did you mean {' or '.join(alike)}?" if alike else "."
        raise ConfigurationError(f"no data set {name!r}{hint} There are {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]
