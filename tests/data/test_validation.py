"""What is validated on is never trained on, and each process sees its share of it once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from relit.data.folder_photos import FolderPhotos
from relit.data.sets import MemoryPairSet, MemoryPhotoSet, Pairs, Photos
from relit.data.unpaired import UnpairedPhotos
from relit.data.validation import hold_out
from relit.errors import ConfigurationError


def photos(count: int) -> MemoryPhotoSet:
    """Photograph number i has the grey value i everywhere, and i as its name."""
    greys = [torch.full((3, 4, 4), i, dtype=torch.uint8) for i in range(count)]
    return MemoryPhotoSet(greys, [str(i) for i in range(count)])


class Given(UnpairedPhotos):
    """Nine backlit and six well-lit photographs, and perhaps validation pairs."""

    def __init__(self, pairs: Pairs | None = None, **options: Any) -> None:
        super().__init__(size=4, test_size=None, batch_size=2, images=False, **{"seed": 0, **options})
        self.pairs = pairs

    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        return photos(9), photos(6), None

    def load_validation(self) -> Pairs | None:
        return self.pairs


def values(photos: Photos) -> list[int]:
    return [int(photos[i][0, 0, 0]) for i in range(len(photos))]


def items(module: UnpairedPhotos) -> list[dict[str, Any]]:
    return list(module.val_dataloader())


def test_held_out_and_kept_photographs_are_the_whole_set_in_order() -> None:
    kept, held = hold_out(photos(9), 3, 7, "key")
    assert sorted(values(kept) + values(held)) == list(range(9))
    assert len(held) == 3
    for part in (kept, held):
        assert values(part) == sorted(values(part))
        assert list(part.names) == [str(value) for value in values(part)]
    assert values(hold_out(photos(9), 3, 7, "key")[1]) == values(held)
    assert any(values(hold_out(photos(9), 3, seed, "key")[1]) != values(held) for seed in range(5))


def test_training_never_sees_what_is_held_out() -> None:
    module = Given(held_out=2)
    module.setup()
    assert (len(module.backlit), len(module.well_lit)) == (7, 4)
    found = items(module)
    inputs = [int(item["input"][0, 0, 0, 0]) for item in found if "input" in item]
    well_lit = [int(item["well_lit"][0, 0, 0, 0]) for item in found if "well_lit" in item]
    assert len(found) == 4
    assert sorted(inputs + values(module.backlit)) == list(range(9))
    assert sorted(well_lit + values(module.well_lit)) == list(range(6))
    assert all(item["name"][0].isdigit() for item in found)


def test_pairs_of_their_own_spare_the_backlit_photographs() -> None:
    bright = [torch.full((3, 4, 4), 200, dtype=torch.uint8)]
    pairs = MemoryPairSet([bright[0] // 2], bright, ["pair"])
    module = Given(pairs, held_out=2)
    module.setup()
    assert (len(module.backlit), len(module.well_lit)) == (9, 4)
    first, *others = items(module)
    assert (int(first["input"].max()), int(first["reference"].max())) == (100, 200)
    assert [sorted(item) for item in others] == [["name", "well_lit"]] * 2
    module = Given(pairs)
    module.setup()
    assert [sorted(item) for item in items(module)] == [["input", "name", "reference"]]


def test_processes_share_the_validation_photographs_without_repeats() -> None:
    seen = []
    for rank in range(3):
        module = Given(held_out=2)
        module.setup()
        module.trainer = SimpleNamespace(global_rank=rank, world_size=3)  # type: ignore[assignment]
        seen += [(sorted(item), item["name"][0]) for item in items(module)]
    assert len(seen) == len({str(item) for item in seen}) == 4


def test_stages_that_share_photographs_share_what_is_held_out() -> None:
    first, second = Given(held_out=2), Given(held_out=2)
    second.share(first)
    second.setup()
    assert second.validation is first.validation
    assert second.backlit is first.backlit


def test_validating_leaves_the_global_generator_alone() -> None:
    module = Given(held_out=2)
    module.setup()
    before = torch.random.get_rng_state()
    items(module)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_more_held_out_than_there_are_is_said() -> None:
    with pytest.raises(ConfigurationError, match=r"data\.held_out: 6 photographs .* out of 6"):
        Given(held_out=6).setup()
    with pytest.raises(ConfigurationError, match=r"data\.held_out: expected at least 0"):
        Given(held_out=-1)


def grey(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 12), (value,) * 3).save(path)


def folders(**overrides: Any) -> FolderPhotos:
    options = {"size": 12, "test_size": None, "batch_size": 1, "images": False, "seed": 0}
    return FolderPhotos(**{**options, **overrides})


def test_folders_below_a_root_several_for_well_lit_and_validation_pairs(tmp_path: Path) -> None:
    for folder, value in (("dark", 20), ("a", 200), ("b", 220), ("val/in", 30), ("val/gt", 210)):
        for number in range(2):
            grey(tmp_path / folder / f"{number}.png", value + number)
    module = folders(
        backlit="dark",
        well_lit=["a", str(tmp_path / "b")],
        val_input="val/in",
        val_reference="val/gt",
        root=str(tmp_path),
    )
    module.setup()
    assert values(module.backlit) == [20, 21]
    assert values(module.well_lit) == [200, 201, 220, 221]
    assert [int(item["reference"][0, 0, 0, 0]) for item in items(module)] == [210, 211]


def test_wrong_folders_name_their_key(tmp_path: Path) -> None:
    grey(tmp_path / "dark" / "0.png", 20)
    where = {"backlit": "dark", "root": str(tmp_path)}
    with pytest.raises(ConfigurationError, match=r"data\.well_lit: .*absent does not exist"):
        folders(well_lit=["dark", "absent"], **where).setup()
    with pytest.raises(ConfigurationError, match=r"data\.well_lit is not set"):
        folders(well_lit=[], **where).setup()
    with pytest.raises(ConfigurationError, match=r"data\.val_reference is set but data\.val_input is not"):
        folders(well_lit="dark", val_reference="dark", **where).setup()
