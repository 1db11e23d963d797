"""DIV2K: the well-lit photographs that CLIP-LIT learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from relit.data.layouts.flat import FlatLayout
from relit.data.layouts.layout import Counts


@dataclass(frozen=True)
class DIV2K(FlatLayout):
    """``DIV2K_384/*``, CLIP-LIT's selection, or all of ``DIV2K_train_HR/*``."""

    name = "div2k"
    title = "DIV2K"
    protocol = "rgb8"
    folders = {"DIV2K_384": 384, "DIV2K_train_HR": 800}  # noqa: RUF012 (a class variable, as in the base)
    split = "train"
    label = "well_lit"
    counts: ClassVar[Counts] = {"train": 384}
    source = "https://data.vision.ee.ethz.ch/cvl/DIV2K/, or, the 384, CLIP-LIT's repository"
    licence = "academic research only"
    notes = "CLIP-LIT learns from 384 of the 800 photographs"
