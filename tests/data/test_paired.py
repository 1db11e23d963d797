"""Paired photographs: crops, flips and turns of a pair are one draw of its position."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from loaders import assert_equal, batches, standing_at
from torch import Tensor, nn

from relit.data.crops import crop_at, mirrored_to
from relit.data.decoding import UnreadablePhoto
from relit.data.layout_pairs import LayoutPairs
from relit.data.layouts.layout import Counts, Layout, pair_rows
from relit.data.paired import PairedPhotos, PairSplits
from relit.data.photo import write_png
from relit.data.resized import mark_resized
from relit.data.rows import Listing, Row
from relit.data.sets import MemoryPairSet
from relit.data.symmetries import symmetry, turned
from relit.data.validation import hold_out_scenes
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

COMMON: dict[str, Any] = {"crop": 6, "test_size": None, "batch_size": 3, "seed": 5}


def photo(name: str, height: int = 12, width: int = 14) -> Tensor:
    return torch.randint(0, 200, (3, height, width), dtype=torch.uint8, generator=keyed_generator(name))


class Brightened(PairedPhotos):
    """Seven pairs; each reference is its input plus 50, so that a crop tells whether both were cut alike."""

    def load(self) -> PairSplits:
        inputs = [photo(str(i)) for i in range(7)]
        pairs = MemoryPairSet(inputs, [image + 50 for image in inputs], [str(i) for i in range(7)])
        return PairSplits(pairs, None, pairs)


def ready(**overrides: Any) -> Brightened:
    module = Brightened(**{**COMMON, **overrides})
    module.setup()
    return module


def test_a_batch_holds_crops_of_input_and_reference_cut_and_turned_alike() -> None:
    for step, batch in enumerate(batches(ready(), 6)):
        assert batch["position"].tolist() == [3 * step, 3 * step + 1, 3 * step + 2]
        assert batch["input"].shape == batch["reference"].shape == (3, 3, 6, 6)
        assert batch["input"].dtype == torch.uint8
        assert torch.equal(batch["input"] + 50, batch["reference"])


def test_every_pair_is_seen_once_an_epoch_and_elsewhere_in_the_next() -> None:
    corners = [[], []]
    for place, batch in enumerate(batches(ready(batch_size=7, augment=False), 2)):
        for crop in batch["input"]:
            found = [
                (number, top, left)
                for number in range(7)
                for top in range(7)
                for left in range(9)
                if torch.equal(photo(str(number))[:, top : top + 6, left : left + 6], crop)
            ]
            corners[place] += found
    assert [sorted(number for number, _, _ in epoch) for epoch in corners] == [list(range(7))] * 2
    assert sorted(corners[0]) != sorted(corners[1])


def test_augmentation_draws_every_symmetry_by_position_alone() -> None:
    images = torch.arange(16).reshape(1, 1, 4, 4).expand(200, 3, 4, 4)
    moved = turned(images, range(200), seed=1)
    assert len({tuple(image.flatten().tolist()) for image in moved}) == 8
    assert torch.equal(turned(images[:5], range(100, 105), seed=1), moved[100:105])
    assert not torch.equal(turned(images, range(200), seed=2), moved)


def test_symmetries_are_eight_and_move_pixels_only() -> None:
    image = torch.arange(9).reshape(3, 3)
    assert symmetry(image, 0).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert symmetry(image, 1).tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert symmetry(image, 4).tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert len({tuple(symmetry(image, number).flatten().tolist()) for number in range(8)}) == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_batch(workers: int) -> None:
    for one, other in zip(batches(ready(), 5), batches(ready(num_workers=workers), 5), strict=True):
        assert_equal(one, other)


def test_batches_after_a_resume_are_those_that_would_have_come() -> None:
    resumed = ready(num_workers=1)
    resumed.trainer = standing_at(4)
    for one, other in zip(batches(ready(), 7)[4:], batches(resumed, 3), strict=True):
        assert_equal(one, other)


def test_two_processes_share_what_one_would_see() -> None:
    whole, parts = ready(batch_size=4), []
    whole.trainer = standing_at(2)
    for rank in range(2):
        module = ready(batch_size=2)
        module.trainer = standing_at(2, rank, world_size=2)
        parts.append(batches(module, 3))
    for one, first, second in zip(batches(whole, 3), *parts, strict=True):
        assert_equal(one, {key: torch.cat([first[key], second[key]]) for key in one})


def test_stages_with_other_crops_share_the_pairs() -> None:
    first, second = (
        Brightened(**COMMON),
        Brightened(**{**COMMON, "crop": 4, "batch_size": 1, "augment": False}),
    )
    second.share(first)
    second.setup()
    assert second.train is first.train
    assert second.test is first.test
    assert batches(second, 1)[0]["input"].shape == (1, 3, 4, 4)


def test_processes_that_see_different_photographs_are_stopped() -> None:
    module = ready()
    module.trainer = standing_at(0, rank=1, world_size=2)
    batches(module, 1)
    module.trainer.strategy.broadcast = lambda names: names + 1  # rank 0 has others
    with pytest.raises(ConfigurationError, match=r"different training photographs \(here 7\)"):
        batches(module, 1)


def test_drawing_batches_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    batches(ready(), 3)
    assert torch.equal(torch.get_rng_state(), before)


class Gain(lightning.LightningModule):
    """Learns by how much references are brighter."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        self.seen.append(batch["input"])
        return (batch["reference"].float() - batch["input"].float() - 50 * self.level).square().mean() / 2500

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_training_resumed_in_the_middle_of_an_epoch_sees_the_same_and_ends_the_same(tmp_path: Path) -> None:
    def train(steps: int, ckpt_path: Path | None, **overrides: Any) -> Gain:
        model = Gain()
        lightning.Trainer(
            default_root_dir=tmp_path,
            accelerator="cpu",
            devices=1,
            max_steps=steps,
            max_epochs=-1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"enable_checkpointing": False, **overrides},
        ).fit(model, datamodule=Brightened(**COMMON), ckpt_path=ckpt_path)
        return model

    saving = ModelCheckpoint(tmp_path, every_n_train_steps=4, filename="four")
    whole, first = train(9, None), train(4, None, callbacks=[saving], enable_checkpointing=True)
    second = train(9, tmp_path / "four.ckpt")
    assert torch.equal(torch.stack(first.seen + second.seen), torch.stack(whole.seen))
    assert torch.equal(second.level, whole.level)
    assert 0.5 < float(whole.level) < 1


def test_photographs_smaller_than_the_crop_are_mirrored_at_their_border() -> None:
    row = torch.tensor([[[1, 2, 3]]])
    assert mirrored_to(row, 8)[0, 0].tolist() == [1, 2, 3, 3, 2, 1, 1, 2]
    assert mirrored_to(row, 8).shape == (1, 8, 8)
    image = photo("wide", 4, 9)
    assert torch.equal(mirrored_to(image, 4), image)
    assert torch.equal(crop_at(image, 9, (0.99, 0.5)), mirrored_to(image, 9))


def test_a_crop_is_a_copy_and_reaches_every_border() -> None:
    image = photo("any")
    corners = {
        (0.0, 0.0): image[:, :6, :6],
        (0.999, 0.0): image[:, -6:, :6],
        (0.0, 0.999): image[:, :6, -6:],
        (0.999, 0.999): image[:, -6:, -6:],
    }
    for place, expected in corners.items():
        crop = crop_at(image, 6, place)
        assert torch.equal(crop, expected)
        assert crop.data_ptr() != expected.data_ptr()


@dataclass(frozen=True)
class Tiny(Layout):
    """``train/{dark,light}`` and ``test/{dark,light}``."""

    name = "tiny"
    title = "Tiny"
    protocol = "lcdp"
    homes = ("tiny",)
    marks = ("train",)
    counts: ClassVar[Counts] = {"test": 2}
    source = "nowhere"
    licence = "none"

    def rows(self, home: Path) -> Listing:
        return pair_rows(home / "train/dark", home / "train/light", "train", "under") + pair_rows(
            home / "test/dark", home / "test/light", "test", "under"
        )


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    for split, names in (("train", "abcd"), ("test", "xy")):
        for kind in ("dark", "light"):
            for name in names:
                write_png(tmp_path / "tiny" / split / kind / f"{name}.png", photo(f"{kind}{name}"))
    return tmp_path


def layout_pairs(root: Path, **overrides: Any) -> LayoutPairs:
    module = LayoutPairs(Tiny(), str(root), **{**COMMON, **overrides})
    module.setup()
    return module


def test_a_layout_gives_every_split_and_its_protocol(root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = layout_pairs(root)
    assert module.protocol.name == "lcdp"
    assert (module.train.names, module.validation) == (list("abcd"), None)
    assert list(module.val_dataloader()) == []
    for loader in (module.test_dataloader(), module.predict_dataloader()):
        pairs = list(loader)
        assert [(pair["name"], pair["label"]) for pair in pairs] == [(["x"], ["under"]), (["y"], ["under"])]
        assert torch.equal(pairs[1]["input"][0], photo("darky"))
        assert torch.equal(pairs[1]["reference"][0], photo("lighty"))
    assert layout_pairs(root, test_size=16).protocol.name == "rgb8"
    assert layout_pairs(root, test_size=16).test_dataloader().dataset[0]["input"].shape == (3, 16, 16)  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["missing", "unreadable", "surplus"])
def test_a_part_of_the_test_split_is_not_the_protocols(root: Path, damage: str) -> None:
    test = root / "tiny" / "test"
    if damage == "missing":
        (test / "dark" / "x.png").unlink()
    if damage == "unreadable":
        (test / "light" / "x.png").write_bytes(b"nothing")
    if damage == "surplus":
        for kind in ("dark", "light"):
            write_png(test / kind / "z.png", photo(f"{kind}z"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert layout_pairs(root).protocol.name == "rgb8"


def test_reduced_copies_are_not_the_protocols(root: Path) -> None:
    mark_resized(root / "tiny", "tiny", 14)
    assert layout_pairs(root).protocol.name == "rgb8"


def test_copies_among_the_test_pairs_count_once_and_the_split_is_still_the_published_one(root: Path) -> None:
    for kind in ("dark", "light"):
        (root / "tiny/test" / kind / "y.png").write_bytes((root / "tiny/test" / kind / "x.png").read_bytes())
    with pytest.warns(UserWarning, match=r"1 of 2 are copies and count once: y\.png \(a copy of x\.png\)"):
        module = layout_pairs(root)
    assert module.test is not None
    assert module.test.names == ["x"]
    assert module.protocol.name == "lcdp"


def test_a_training_pair_that_is_tested_on_under_another_name_is_left_out(root: Path) -> None:
    for kind in ("dark", "light"):
        (root / "tiny/train" / kind / "a.png").write_bytes((root / "tiny/test" / kind / "x.png").read_bytes())
    with pytest.warns(UserWarning, match=r"1 of 6 .*a\.png \(it or its reference is the same as dark/x\.png"):
        module = layout_pairs(root)
    assert module.train is not None
    assert module.train.names == list("bcd")


def test_a_data_set_may_have_nothing_to_train_on(root: Path) -> None:
    for kind in ("dark", "light"):
        for path in (root / "tiny/train" / kind).iterdir():
            path.unlink()
    with pytest.warns(UserWarning, match="left out"):
        module = layout_pairs(root)
    assert len(list(module.test_dataloader())) == 2
    with pytest.raises(ConfigurationError, match="no pair to train on"):
        module.train_dataloader()


def test_the_cache_on_disk_changes_no_batch(root: Path) -> None:
    cached = {"cache": True, "cache_dir": str(root / "cache")}
    modules = [layout_pairs(root), layout_pairs(root, **cached), layout_pairs(root, **cached, num_workers=1)]
    for plain, filling, filled in zip(*(batches(module, 4) for module in modules), strict=True):
        assert_equal(plain, filling)
        assert_equal(plain, filled)


def test_held_out_scenes_are_validated_on_and_not_trained_on(root: Path) -> None:
    module = layout_pairs(root, held_out=1)
    assert module.validation is not None
    assert len(module.validation) == 1
    assert sorted([*module.train.names, *module.validation.names]) == list("abcd")
    rows = [
        Row(Path(f"{scene}-{ev}"), None, "train", ev, scene) for scene in "abcdef" for ev in ("under", "over")
    ]
    kept, held = hold_out_scenes(rows, 2, seed=3)
    assert len(held) == 4
    assert len({row.scene for row in held}) == 2
    assert {row.scene for row in kept}.isdisjoint(row.scene for row in held)
    assert hold_out_scenes(rows, 2, seed=3) == (kept, held)
    assert len({tuple(hold_out_scenes(rows, 2, seed)[1]) for seed in range(9)}) > 1
    with pytest.raises(ConfigurationError, match=r"data\.held_out: 6 scenes can't be held out of 6"):
        hold_out_scenes(rows, 6, seed=3)


def test_what_cannot_be_used_is_left_out_and_said(root: Path) -> None:
    train = root / "tiny" / "train"
    (train / "light" / "a.png").unlink()
    (train / "dark" / "b.png").write_bytes(b"nothing")
    for kind in ("dark", "light"):
        write_png(root / "tiny" / "test" / kind / "c.png", photo("another"))
    with pytest.warns(UserWarning, match="left out") as caught:
        module = layout_pairs(root)
    said = [str(warning.message) for warning in caught]
    assert len(said) == 3
    assert (
        "data.root: 1 of 7 photographs or their folders are missing or unmatched: a.png (no references"
        in said[0]
    )
    assert "show scenes of a later split: c.png (scene c is in the test split, too)" in said[1]
    assert "b.png (not an image, or of an unknown format)" in said[2]
    assert module.train.names == ["d"]
    with pytest.raises(ConfigurationError, match=r"a\.png.*data\.strict=false"):
        layout_pairs(root, strict=True)


def test_a_manifest_takes_the_place_of_the_layout(root: Path) -> None:
    lines = [
        "input,reference,split,label,scene",
        "tiny/train/dark/b.png,tiny/train/light/b.png,train,under,1",
    ]
    (root / "one.csv").write_text("\n".join(lines))
    module = LayoutPairs(None, str(root), "one.csv", **COMMON)
    module.setup()
    assert module.train.names == ["b"]
    assert module.test is None
    assert module.protocol.name == "rgb8"
    with pytest.raises(ConfigurationError, match=r"neither a layout nor data\.manifest"):
        LayoutPairs(None, str(root), **COMMON)


def test_rows_without_a_reference_are_tested_on_and_not_trained_on(root: Path) -> None:
    dark, light = "tiny/train/dark", "tiny/train/light"
    lines = ["input,reference,split,scene", f"{dark}/a.png,{light}/a.png,train,1", f"{dark}/b.png,,train,2"]
    (root / "some.csv").write_text(
        "\n".join([*lines, f"{dark}/c.png,,val,3", "tiny/test/dark/x.png,,test,4"])
    )
    module = LayoutPairs(Tiny(), str(root), "some.csv", **COMMON)
    with pytest.warns(
        UserWarning, match=r"2 of 4 photographs to train or validate on have no reference: b\.png, c"
    ):
        module.setup()
    assert module.train is not None
    assert (module.train.names, module.validation) == (["a"], None)
    assert [item.keys() for item in module.test_dataloader()] == [{"input", "name", "label"}]
    assert module.protocol.name == "rgb8"  # a table is no published split


def test_a_held_out_share_beside_a_validation_split_is_refused(root: Path) -> None:
    row = "tiny/train/dark/{0}.png,tiny/train/light/{0}.png,{1},{0}"
    lines = ["input,reference,split,scene", row.format("a", "train"), row.format("b", "val")]
    (root / "two.csv").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match=r"data\.held_out=1: the data set has a validation split"):
        LayoutPairs(None, str(root), "two.csv", held_out=1, **COMMON).setup()


@pytest.mark.filterwarnings("ignore")
def test_a_photograph_damaged_within_stops_the_run_with_one_line_from_a_worker_too(root: Path) -> None:
    path = root / "tiny/train/dark/a.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    for workers in (0, 1):
        with pytest.raises(UnreadablePhoto) as caught:
            batches(layout_pairs(root, num_workers=workers), 4)
        assert str(caught.value).startswith(str(path))
        assert str(caught.value).endswith("replace or remove the file")
        assert "\n" not in str(caught.value)


def test_long_photographs_are_reduced_before_they_are_cropped(root: Path) -> None:
    module = layout_pairs(root, long_side=7, crop=5)
    assert module.train[0]["input"].shape == (3, 6, 7)
    with pytest.raises(ConfigurationError, match=r"data\.long_side: expected at least 6, found 5"):
        layout_pairs(root, long_side=5)


def test_a_missing_data_set_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"does not hold Tiny.*It comes from nowhere"):
        layout_pairs(tmp_path)
    with pytest.raises(ConfigurationError, match=r"data\.root: .*missing does not exist"):
        layout_pairs(tmp_path / "missing")
