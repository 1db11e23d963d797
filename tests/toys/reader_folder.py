"""What a reader of the pages has at hand, small: photographs, data sets, tables, released weights."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import replicas
import torch
from markdown_page import MarkdownPage
from PIL import Image

from relit.clip_lit.network import ResidualPPM

PHOTOS = 24
"""Of each of the reader's own folders to train on: more than the 20 that a command keeps for tests."""

SIZE = (280, 264)
"""Of the photographs of data sets: width and height, larger than any crop of the pages."""


def reader_folder(folder: Path) -> Path:
    """Fill ``folder`` with all that commands of the pages may name.

    ``own`` has the reader's photographs: ``dark`` and ``light``, and of other scenes ``test_dark`` and
    ``test_light``; ``data`` has replicas of the published data sets. The tables are those of docs/DATA.md.
    """
    for name, scene, count in (
        *(("dark", "a", PHOTOS), ("light", "a", PHOTOS)),
        *(("test_dark", "b", 3), ("test_light", "b", 3)),
    ):
        for number in range(count):
            replicas.put(folder / "own" / name / f"{scene}{number}.jpg", 48, 64)
    replicas.put(folder / "photo.jpg", 48, 64)
    for number in range(2):
        replicas.put(folder / "in" / f"{number}.png", 48, 64)
    _data_sets(folder / "data")
    (folder / "SICEV2").symlink_to("data/SICEV2")
    (folder / "testing").symlink_to("data/MSEC/testing")
    (folder / "BSDS500").symlink_to("own/light")
    torch.save(ResidualPPM().state_dict(), folder / "enhancement_model.pth")
    _tables(folder)
    return folder


def _data_sets(root: Path) -> None:
    for name in ("baid", "backlit300", "lcdp", "msec", "sice_v2"):
        getattr(replicas, name)(root)
    replicas.sice(root, {"part1": 3, "part2": 3}, exposures=5)
    for path in filter(Path.is_file, root.rglob("*")):
        with Image.open(path) as photo:
            enlarged = photo.resize(SIZE)
        enlarged.save(path)


def _tables(folder: Path) -> None:
    """The tables that docs/DATA.md shows, under the names its commands have, and the photographs in them."""
    page = MarkdownPage("docs/DATA.md")
    tables = [block for block in page.blocks if block.language == "csv"]
    names = re.findall(r"data\.manifest=(\S+\.csv)", page.text)
    for name, block in zip(names, tables, strict=True):
        (folder / name).write_text(block.text)
        for row in csv.DictReader(block.text.splitlines()):
            for path in filter(None, (row["input"], row["reference"])):
                replicas.put(folder / path, 48, 64)
