"""Small replicas of published data sets: true names of folders and files, tiny photographs of noise."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import TypeVar

from PIL import Image

from relit.data.layouts.layout import Layout
from relit.data.layouts.sice import SICE

AnyLayout = TypeVar("AnyLayout", bound=Layout)

EXPOSURES = ("0", "N1", "N1.5", "P1", "P1.5")
LCDP_SCENES = {
    "train": ("a0001-jmac_DSC1459", "a0002-dgw_005"),
    "val": ("a0010-jmac_MG_4807",),
    "test": ("a0016-jmac_MG_0795", "a0017-IMG_0005"),
}
MSEC_SCENES = {
    "train": ("a0101-dvf_095", "a0102-kme_264"),
    "val": ("a0201-_DGW6260",),
    "test": ("a0301-07-11-24-at-12h11m26s-_MG_7890", "a0302-IMG_4231"),
}


def scaled(layout: AnyLayout, **facts: object) -> AnyLayout:
    """``layout`` with other facts about the data set, such as ``counts``: a replica is smaller."""
    small = type(type(layout).__name__, (type(layout),), facts)
    return small(**{field.name: getattr(layout, field.name) for field in fields(layout)})


def put(path: Path, height: int = 12, width: int = 16) -> Path:
    """Write a photograph of noise that no other path has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = Random("/".join(path.parts[-4:])).randbytes(3 * height * width)
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    Image.frombytes("RGB", (width, height), noise).save(path, format=kind)
    return path


def baid(root: Path) -> Path:
    """Three backlit, two well-lit and four test photographs; train and test share numbers."""
    for name in ("0001.JPG", "0002.jpg", "0152.png"):
        put(root / "BAID_380/resize_input" / name)
    for name in ("0001.png", "0801.png"):
        put(root / "DIV2K_384" / name)
    test = root / "BAID/test"
    for source, target in (
        ("0001.JPG", "0001.jpg"),
        ("0152.png", "0152.png"),
        ("0153.jpg", "0153.JPG"),
        ("Café au soleil.jpg", unicodedata.normalize("NFD", "Café au soleil.jpg")),
    ):
        put(test / "resize_input" / source)
        put(test / "resize_gt" / target)
    return root


def backlit300(root: Path) -> Path:
    """Three photographs."""
    for name in ("1.jpg", "2.JPG", "a street.png"):
        put(root / "Backlit300" / name)
    return root


def div2k(root: Path, folder: str = "DIV2K_384") -> Path:
    """Three photographs."""
    for name in ("0001.png", "0002.png", "0800.png"):
        put(root / folder / name)
    return root


def lcdp(root: Path, scenes: Mapping[str, Sequence[str]] = LCDP_SCENES) -> Path:
    """A pair of each scene."""
    for split, prefix in (("train", ""), ("val", "valid-"), ("test", "test-")):
        for name in scenes[split]:
            put(root / "lcdp_dataset" / f"{prefix}input" / f"{name}.png")
            put(root / "lcdp_dataset" / f"{prefix}gt" / f"{name}.png")
    return root


def msec(root: Path, scenes: Mapping[str, Sequence[str]] = MSEC_SCENES) -> Path:
    """Five exposures of each scene, and one reference, in the test split five."""
    experts = [f"expert_{expert}_testing_set" for expert in "abcde"]
    for split, folder, references in (
        ("train", "training", ["GT_IMAGES"]),
        ("val", "validation", ["GT_IMAGES"]),
        ("test", "testing", experts),
    ):
        for name in scenes[split]:
            for exposure in EXPOSURES:
                put(root / "MSEC" / folder / "INPUT_IMAGES" / f"{name}_{exposure}.JPG")
            for reference in references:
                put(root / "MSEC" / folder / reference / f"{name}.jpg")
    return root


def sice(root: Path, parts: Mapping[str, int], exposures: int = 7, label_beside: bool = False) -> Path:
    """Brackets of each part, and their labels: inside the part, or those of part 1 beside it."""
    for part, count in parts.items():
        folder = root / "SICE" / f"Dataset_{part.capitalize()}"
        labels = root / "SICE/Label" if label_beside and part == "part1" else folder / "Label"
        for number in range(1, count + 1):
            for exposure in range(1, exposures + 1):
                put(folder / str(number) / f"{exposure}.JPG")
            put(labels / f"{number}.{'JPG' if part == 'part1' else 'PNG'}")
    return root


def small_sice(parts: Mapping[str, int], reference: str = "middle", exposures: int = 7) -> SICE:
    """What :func:`sice` writes, with two test scenes."""
    facts = {"brackets": parts, "tested": 2, "counts": {"test": 4}}
    return scaled(SICE(reference), photographs=exposures * sum(parts.values()), **facts)


def sice_v2(root: Path, reference: str = "mid") -> Path:
    """Three scenes to train on and two to test on."""
    for split, scenes in (("train", (1, 2, 10)), ("test", (23, 110))):
        for folder in ("low", "over", reference):
            for scene in scenes:
                put(root / "SICEV2" / split / folder / f"{scene}.JPG")
    return root


def cut_off(path: Path) -> None:
    """What an interrupted copy leaves."""
    path.write_bytes(path.read_bytes()[:-30])


def damage(path: Path) -> None:
    """Foreign bytes in the middle half of the pixel data; header and end are as they were."""
    content = bytearray(path.read_bytes())
    start = content.find(b"\xff\xda") if path.suffix.lower() in (".jpg", ".jpeg") else content.find(b"IDAT")
    quarter = (len(content) - start) // 4
    content[start + quarter : -quarter] = Random(path.name).randbytes(len(content) - start - 2 * quarter)
    path.write_bytes(content)
