"""Synthesised pairs: training inputs by position, test pairs by name, references untouched."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from loaders import assert_equal, batches, standing_at
from torch import Tensor

from relit.data.faults import ExposureFaults, take_badly
from relit.data.photo import read_photo, write_png
from relit.data.symmetries import turned
from relit.data.synthesised import SynthesisedPairs
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

FAULTS = ExposureFaults(
    ev=[-2, 1],
    backlit=0.4,
    shade_ev=[-3, -2],
    light_ev=[0, 1],
    white_balance=0.1,
    headroom=[1, 2],
    shot=[0, 1e-3],
    read=[0, 1e-3],
)
COMMON: dict[str, Any] = {"crop": 8, "test_size": None, "batch_size": 3, "seed": 5}


def photo(name: str, height: int = 12, width: int = 15) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=keyed_generator(name))


def fill(folder: Path, names: str) -> Path:
    for name in names:
        write_png(folder / f"{name}.png", photo(name))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return fill(tmp_path / "photos", "abcdefg")


def ready(folder: Path, **overrides: Any) -> SynthesisedPairs:
    module = SynthesisedPairs(**{"photos": str(folder), "faults": FAULTS, **COMMON, **overrides})
    module.setup()
    return module


# --- training ---


def test_a_batch_holds_turned_crops_and_what_their_positions_faults_make_of_them(folder: Path) -> None:
    module = ready(folder)
    raw = list(islice(module.train_dataloader(), 3))
    for step, batch in enumerate(raw):
        assert batch.keys() == {"position", "input"}
        positions = [3 * step, 3 * step + 1, 3 * step + 2]
        assert batch["position"].tolist() == positions
        made = module.on_after_batch_transfer(dict(batch), 0)
        assert made["input"].dtype == made["reference"].dtype == torch.uint8
        assert made["input"].shape == made["reference"].shape == (3, 3, 8, 8)
        assert torch.equal(made["reference"], turned(batch["input"], positions, 5))
        faults = [FAULTS.draw(position, 5) for position in positions]
        assert torch.equal(made["input"], take_badly(made["reference"], faults))
        assert not torch.equal(made["input"], made["reference"])


def test_every_photograph_is_seen_once_an_epoch(folder: Path) -> None:
    epoch = batches(ready(folder, batch_size=7, augment=False), 1)[0]["reference"]
    found = {
        name
        for crop in epoch
        for name in "abcdefg"
        if any(
            torch.equal(photo(name)[:, top : top + 8, left : left + 8], crop)
            for top in range(5)
            for left in range(8)
        )
    }
    assert found == set("abcdefg")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_batch(folder: Path, workers: int) -> None:
    for one, other in zip(
        batches(ready(folder), 4), batches(ready(folder, num_workers=workers), 4), strict=True
    ):
        assert_equal(one, other)


def test_batches_after_a_resume_are_those_that_would_have_come(folder: Path) -> None:
    resumed = ready(folder)
    resumed.trainer = standing_at(4)
    for one, other in zip(batches(ready(folder), 7)[4:], batches(resumed, 3), strict=True):
        assert_equal(one, other)


def test_two_processes_share_what_one_would_see(folder: Path) -> None:
    whole, parts = ready(folder, batch_size=4), []
    for rank in range(2):
        module = ready(folder, batch_size=2)
        module.trainer = standing_at(0, rank, world_size=2)
        parts.append(batches(module, 3))
    for one, first, second in zip(batches(whole, 3), *parts, strict=True):
        assert_equal(one, {key: torch.cat([first[key], second[key]]) for key in one})


def test_another_seed_gives_other_faults(folder: Path) -> None:
    one, other = (FAULTS.draw(0, seed) for seed in (5, 6))
    assert one != other
    first, second = (batches(ready(folder, seed=seed), 1)[0]["input"] for seed in (5, 6))
    assert not torch.equal(first, second)


def test_large_photographs_are_reduced_before_they_are_cropped_and_a_cache_changes_nothing(
    folder: Path,
) -> None:
    reduced = ready(folder, long_side=10)
    assert reduced.train[0]["reference"].shape == (3, 8, 10)
    cached = ready(folder, long_side=10, cache=True, cache_dir=str(folder.parent / "cache"))
    for _ in range(2):
        for one, other in zip(batches(reduced, 3), batches(cached, 3), strict=True):
            assert_equal(one, other)
    with pytest.raises(ConfigurationError, match=r"data\.long_side: expected at least 8, found 7"):
        ready(folder, long_side=7)


# --- validation and test ---


def test_test_pairs_are_the_photograph_and_a_fault_of_its_name(folder: Path) -> None:
    pairs = list(ready(folder, test_photos=3, exposures=2).test_dataloader())
    assert len(pairs) == 6
    for place, pair in enumerate(pairs):
        name, number = pair["name"][0].rsplit("-", 1)
        assert int(number) == place % 2
        assert torch.equal(pair["reference"][0], photo(name))
        fault = FAULTS.draw(int(number), "photo", f"{name}.png")
        assert pair["label"] == [fault.label]
        assert torch.equal(pair["input"], take_badly(pair["reference"], [fault]))
        assert not torch.equal(pair["input"], pair["reference"])


def test_test_and_validation_pairs_are_the_same_in_every_run(folder: Path, tmp_path: Path) -> None:
    options = {"test_photos": 2, "held_out": 2, "exposures": 2}
    runs = []
    for place, batch_size in ((folder, 3), (tmp_path / "elsewhere", 1)):
        if not place.exists():
            folder.rename(place)
        module = ready(place, **options, batch_size=batch_size)
        runs.append([*module.test_dataloader(), *module.val_dataloader()])
    assert len(runs[0]) == 8
    for one, other in zip(*runs, strict=True):
        assert_equal(one, other)


def test_the_seed_chooses_no_test_photograph_and_changes_no_pair(folder: Path) -> None:
    one, other = (list(ready(folder, test_photos=3, seed=seed).test_dataloader()) for seed in (1, 2))
    for first, second in zip(one, other, strict=True):
        assert_equal(first, second)


def test_photographs_are_trained_validated_or_tested_on(folder: Path) -> None:
    module = ready(folder, test_photos=2, held_out=2)
    assert module.validation is not None
    assert module.test is not None
    names = [list(pairs.names) for pairs in (module.train, module.validation, module.test)]
    assert [len(some) for some in names] == [3, 2, 2]
    assert sorted(name for some in names for name in some) == list("abcdefg")
    assert ready(folder).test is None
    assert list(ready(folder).val_dataloader()) == []


def test_a_folder_of_test_photographs_is_tested_on_and_its_copies_are_not_trained_on(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "test").mkdir()
    fill(tmp_path / "test", "xy")
    write_png(folder / "copied.png", photo("x"))
    with pytest.warns(UserWarning, match=r"data\.photos: 1 of 10 photographs show scenes.*copied\.png"):
        module = ready(folder, test_photos=str(tmp_path / "test"))
    assert (list(module.train.names), list(module.test.names)) == (list("abcdefg"), ["x", "y"])  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match=r"copied\.png.*data\.strict=false"):
        ready(folder, test_photos=str(tmp_path / "test"), strict=True)


@pytest.mark.filterwarnings("ignore:data.photos")
def test_a_folder_that_is_tested_on_whole_cannot_be_trained_on(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.photos: every photograph is tested on"):
        ready(folder, test_photos=str(folder))


def test_copies_count_once_so_that_no_test_photograph_is_trained_on(folder: Path) -> None:
    for name in "abcdefg":
        write_png(folder / f"z{name}.png", photo(name))
    with pytest.warns(UserWarning, match=r"data\.photos: 7 of 14 are copies"):
        module = ready(folder, test_photos=3)
    assert len(module.train) == 4


def test_folders_are_found_from_the_root_and_what_cannot_be_read_is_left_out(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"nothing")
    (folder.parent / "more").mkdir()
    fill(folder.parent / "more", "h")
    with pytest.warns(UserWarning, match=r"data\.photos: 1 of 8 photographs cannot be read.*b\.png"):
        module = ready(Path(), photos=["photos", "more"], root=str(folder.parent))
    assert sorted(module.train.names) == list("acdefgh")


def test_wrong_settings_are_named(folder: Path) -> None:
    wrong = {
        "photos": (None, r"data\.photos is not set"),
        "test_photos": (7, r"data\.test_photos: 7 photographs can't be held out of 7"),
        "exposures": (0, r"data\.exposures: expected at least 1, found 0"),
        "held_out": (7, r"data\.held_out"),
        "cache": (True, r"data\.cache_dir is not set"),
    }
    for key, (value, said) in wrong.items():
        with pytest.raises(ConfigurationError, match=said):
            ready(folder, **{key: value})
    with pytest.raises(ConfigurationError, match=r"data\.test_photos: expected at least 0, found -1"):
        ready(folder, test_photos=-1)
    with pytest.raises(ConfigurationError, match=r"data\.test_photos: .*nowhere does not exist"):
        ready(folder, test_photos=str(folder / "nowhere"))


def test_real_photographs_become_worse_in_the_direction_that_their_label_says(shared: Path) -> None:
    paths = sorted((shared / "photos/well_lit").rglob("*.jpg"))[:6]
    for place, path in enumerate(paths):
        good = read_photo(path)[None]
        for fault in (FAULTS.draw(number, "photo", place) for number in range(4)):
            bad = take_badly(good, [fault]).float().mean() - good.float().mean()
            assert (bad > 0) == (fault.label == "over")
