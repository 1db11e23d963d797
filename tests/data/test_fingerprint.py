"""The fingerprint of a data set: the same for its copies, another one for any other photographs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from relit.data.fingerprint import fingerprint
from relit.data.folder_photos import FolderPhotos
from relit.data.layout_pairs import LayoutPairs
from relit.data.layouts.pair_folders import PairFolders
from relit.data.photo import write_png
from relit.keyed import keyed_generator


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folders of a few small photographs."""
    for folder in ("dark", "light", "test", "truth"):
        for number in range(3):
            generator = keyed_generator(folder, number)
            image = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=generator)
            write_png(tmp_path / "set" / folder / f"{number}.png", image)
    return tmp_path / "set"


def unpaired(root: Path, **options: Any) -> dict[str, str]:
    data = FolderPhotos(
        backlit=str(root / "dark"), well_lit=str(root / "light"), test_input=str(root / "test"),
        test_reference=str(root / "truth"), size=8, batch_size=1, images=True, seed=0, test_size=None,
        **options,
    )  # fmt: skip
    data.setup()
    return fingerprint(data)


def paired(root: Path) -> dict[str, str]:
    layout = PairFolders(train_input=str(root / "dark"), train_reference=str(root / "light"))
    data = LayoutPairs(root=None, layout=layout, crop=8, batch_size=1, seed=0, test_size=None)
    data.setup()
    return fingerprint(data)


def test_a_copy_elsewhere_has_the_same(photos: Path, tmp_path: Path) -> None:
    before = unpaired(photos)
    assert before.keys() == {"backlit", "well_lit", "test"}
    assert all(text.startswith("3 photographs, ") for text in before.values())
    assert len(set(before.values())) == 3
    shutil.copytree(photos, tmp_path / "copy")
    assert unpaired(tmp_path / "copy") == before
    assert paired(tmp_path / "copy") == paired(photos)


def test_what_changes_is_seen_in_its_role_alone(photos: Path) -> None:
    before = unpaired(photos)
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    write_png(photos / "dark" / "1.png", image)
    replaced = unpaired(photos)
    (photos / "dark" / "1.png").rename(photos / "dark" / "renamed.png")
    renamed = unpaired(photos)
    (photos / "dark" / "renamed.png").unlink()
    fewer = unpaired(photos)
    assert fewer["backlit"].startswith("2 photographs")
    assert len({found["backlit"] for found in (before, replaced, renamed, fewer)}) == 4
    assert len({found["well_lit"] for found in (before, replaced, renamed, fewer)}) == 1


def test_references_count(photos: Path) -> None:
    before, pairs_before = unpaired(photos), paired(photos)
    write_png(photos / "truth" / "2.png", torch.zeros(3, 16, 16, dtype=torch.uint8))
    write_png(photos / "light" / "2.png", torch.zeros(3, 16, 16, dtype=torch.uint8))
    after = unpaired(photos)
    assert {role for role in before if before[role] != after[role]} == {"test", "well_lit"}
    assert paired(photos) != pairs_before


def test_held_out_photographs_are_a_role_of_their_own(photos: Path) -> None:
    whole, parted = unpaired(photos), unpaired(photos, held_out=1)
    assert parted["backlit"].startswith("2 photographs")
    assert parted["validation"].startswith("2 photographs")  # a backlit one and a well-lit one
    assert parted["test"] == whole["test"]
