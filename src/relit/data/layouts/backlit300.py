"""Backlit300: real backlit photographs to test on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from relit.data.layouts.flat import FlatLayout
from relit.data.layouts.layout import Counts


@dataclass(frozen=True)
class Backlit300(FlatLayout):
    """``Backlit300/*``, without references."""

    name = "backlit300"
    title = "Backlit300"
    protocol = "backlit300"
    folders = {"Backlit300": 305}  # noqa: RUF012 (a class variable by the base's annotation)
    split = "test"
    label = "backlit"
    counts: ClassVar[Counts] = {"test": 305}
    source = "the link in CLIP-LIT's repository, https://github.com/ZhexinLiang/CLIP-LIT"
    licence = "not stated"
    notes = "has no references: only measures that need none, such as MUSIQ, apply"
