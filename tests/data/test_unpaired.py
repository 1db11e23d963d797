"""Data modules: batches begin where the trainer stands and mean what their keys say."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from loaders import batches, standing_at
from PIL import Image
from torch import Tensor, nn

from relit.data.folder_photos import FolderPhotos
from relit.data.layouts.baid import BAID
from relit.data.photo import read_photo, resize_photo
from relit.data.sampling import permuted_index
from relit.data.sets import MemoryPairSet, MemoryPhotoSet, Pairs, Photos
from relit.data.unpaired import UnpairedPhotos
from relit.errors import ConfigurationError
from relit.stop_signals import SIGNALS

COMMON: dict[str, Any] = {"size": 4, "test_size": None, "batch_size": 3, "images": True, "seed": 11}


class ConstantPhotos(UnpairedPhotos):
    """Seven backlit and five well-lit photographs; number i has the grey value i everywhere."""

    loads = 0

    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        self.loads += 1
        greys = [torch.full((3, self.size, self.size), i, dtype=torch.uint8) for i in range(7)]
        names = [str(i) for i in range(7)]
        test = MemoryPairSet(greys, greys, names)
        return MemoryPhotoSet(greys, names), MemoryPhotoSet(greys[:5], names[:5]), test


class Recorder(lightning.LightningModule):
    """Learns one number and writes down the positions it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.positions: list[list[int]] = []
        self.tested: list[str] = []

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        self.positions.append(batch["position"].tolist())
        return (batch["image"].float().mean() / 255 - self.level).square()

    def test_step(self, batch: dict[str, Any]) -> None:
        self.tested += batch["name"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, steps: int, **overrides: Any) -> lightning.Trainer:
    return lightning.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        max_epochs=-1,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"enable_checkpointing": False, **overrides},
    )


def ready(**overrides: Any) -> ConstantPhotos:
    module = ConstantPhotos(**{**COMMON, **overrides})
    module.setup()
    return module


def test_batches_begin_at_zero_and_say_what_stands_there() -> None:
    for step, batch in enumerate(batches(ready(), 4)):
        assert batch["position"].tolist() == [3 * step, 3 * step + 1, 3 * step + 2]
        for slot, position in enumerate(batch["position"].tolist()):
            assert batch["backlit"][slot] == permuted_index(position, 7, 11, "backlit")
            assert batch["well_lit"][slot] == permuted_index(position, 5, 11, "well_lit")
        assert batch["position"].dtype == batch["backlit"].dtype == torch.int64
        assert batch["image"].dtype == torch.uint8
        assert batch["image"].shape == (3, 3, 4, 4)
        assert torch.equal(batch["image"][:, 0, 0, 0].long(), batch["backlit"])


def test_batches_without_pixels() -> None:
    (batch,) = batches(ready(images=False), 1)
    assert batch.keys() == {"position", "backlit", "well_lit"}


def test_photographs_are_loaded_once() -> None:
    module = ready()
    module.setup("fit")
    module.setup("test")
    assert module.loads == 1


def test_photographs_are_shared_where_only_batches_differ() -> None:
    first, second = ConstantPhotos(**COMMON), ConstantPhotos(**{**COMMON, "batch_size": 2, "images": False})
    second.share(first)
    second.setup()
    assert (first.loads, second.loads) == (1, 0)
    assert second.backlit is first.backlit
    assert second.test is first.test
    assert len(batches(second, 1)[0]["position"]) == 2
    first.setup()
    assert first.loads == 1


def test_two_processes_share_what_one_would_see() -> None:
    whole, parts = ready(batch_size=4), []
    for rank in range(2):
        module = ready(batch_size=2)
        module.trainer = standing_at(5, rank, world_size=2)
        parts.append(batches(module, 3))
    whole.trainer = standing_at(5)
    for one, first, second in zip(batches(whole, 3), *parts, strict=True):
        for key in one:
            assert torch.equal(torch.cat([first[key], second[key]]), one[key])


def test_gradient_accumulation_consumes_several_batches_a_step() -> None:
    module = ready()
    module.trainer = standing_at(4, accumulate=2)
    assert batches(module, 1)[0]["position"].tolist() == [24, 25, 26]


def test_worker_processes_change_nothing() -> None:
    plain = batches(ready(), 5)
    for one, other in zip(plain, batches(ready(num_workers=2), 5), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_signal_that_stops_the_run_does_not_end_its_workers() -> None:
    # a cluster sends it to every process; the training process still has a step to finish
    plain, loader = batches(ready(), 5), iter(ready(num_workers=1).train_dataloader())
    found = [next(loader)]
    (worker,) = multiprocessing.active_children()
    for number in SIGNALS:
        os.kill(worker.pid or 0, number)
    found += [next(loader) for _ in range(4)]
    assert worker.is_alive()
    assert all(
        torch.equal(one[key], other[key]) for one, other in zip(plain, found, strict=True) for key in one
    )


def test_drawing_batches_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    batches(ready(), 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_training_sees_the_positions_and_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, accumulate: int
) -> None:
    def train(steps: int, ckpt_path: Path | None, **overrides: Any) -> Recorder:
        model = Recorder()
        run = trainer(tmp_path, steps, accumulate_grad_batches=accumulate, **overrides)
        run.fit(model, datamodule=ConstantPhotos(**COMMON), ckpt_path=ckpt_path)
        assert run.global_step == steps
        return model

    whole = train(11, None)
    saving = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=5, filename="five")
    first = train(5, None, callbacks=[saving], enable_checkpointing=True)
    second = train(11, tmp_path / "checkpoints" / "five.ckpt")
    assert whole.positions == [[3 * b, 3 * b + 1, 3 * b + 2] for b in range(11 * accumulate)]
    assert first.positions + second.positions == whole.positions
    assert torch.equal(second.level, whole.level)


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_tests_every_pair_once(tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, 1).test(model, datamodule=ConstantPhotos(**COMMON), verbose=False)
    assert model.tested == [str(i) for i in range(7)]


def test_processes_share_the_test_pairs_without_repeats() -> None:
    module, names = ready(), []
    for rank in range(3):
        module.trainer = standing_at(0, rank, world_size=3)
        names.append([batch["name"][0] for batch in module.test_dataloader()])
    assert names == [["0", "3", "6"], ["1", "4"], ["2", "5"]]


def fill(folder: Path, *names: str, width: int = 12) -> str:
    folder.mkdir()
    for index, name in enumerate(names):
        start = sum(folder.name.encode())
        ramp = (start + torch.arange(12 * width * 3).reshape(12, width, 3) * (index + 1)) % 256
        Image.fromarray(ramp.to(torch.uint8).numpy()).save(folder / name)
    return str(folder)


def test_photographs_from_folders(tmp_path: Path) -> None:
    backlit = fill(tmp_path / "backlit", "a.png", "b.png")
    well_lit = fill(tmp_path / "well_lit", "c.png", "d.png", "e.png")
    inputs, references = fill(tmp_path / "input", "x.png"), fill(tmp_path / "reference", "X.bmp")
    module = FolderPhotos(backlit, well_lit, inputs, references, **COMMON)
    module.setup()
    assert (module.backlit.names, module.well_lit.names) == (["a", "b"], ["c", "d", "e"])
    (batch,) = batches(module, 1)
    for image, index in zip(batch["image"], batch["backlit"], strict=True):
        path = tmp_path / "backlit" / f"{module.backlit.names[int(index)]}.png"
        assert torch.equal(image, resize_photo(read_photo(path), 4))
    (pair,) = module.test_dataloader()
    assert pair["name"] == ["x"]
    assert pair["input"].shape == pair["reference"].shape == (1, 3, 12, 12)


def test_test_pairs_of_different_sizes_and_of_one(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    (tmp_path / "photos" / "b.png").unlink()
    wide = fill(tmp_path / "wide", "b.png", width=20)
    (Path(wide) / "b.png").rename(tmp_path / "photos" / "b.png")
    native = FolderPhotos(folder, folder, folder, **COMMON)
    native.setup()
    assert [batch["input"].shape[-1] for batch in native.test_dataloader()] == [12, 20]
    square = FolderPhotos(folder, folder, folder, **{**COMMON, "test_size": 16})
    square.setup()
    assert [tuple(batch["input"].shape) for batch in square.test_dataloader()] == [(1, 3, 16, 16)] * 2


def test_no_test_folder_no_test_pairs(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    module = FolderPhotos(folder, folder, **COMMON)
    module.setup()
    assert module.test is None
    assert list(module.test_dataloader()) == []


def test_folder_with_one_photograph_works_with_a_warning(tmp_path: Path) -> None:
    one, two = fill(tmp_path / "one", "a.png"), fill(tmp_path / "two", "b.png", "c.png")
    module = FolderPhotos(one, two, **COMMON)
    with pytest.warns(UserWarning, match=r"data\.backlit: .*one photograph only"):
        module.setup()
    assert batches(module, 1)[0]["backlit"].tolist() == [0, 0, 0]


def test_a_large_folder_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    cached = FolderPhotos(folder, folder, **COMMON)
    cached.setup()
    monkeypatch.setattr("relit.data.folder_photos.KEPT_BYTES", 0)
    decoding = FolderPhotos(folder, folder, **COMMON)
    decoding.setup()
    for one, other in zip(batches(cached, 2), batches(decoding, 2), strict=True):
        assert torch.equal(one["image"], other["image"])


def test_mistakes_in_folders_are_configuration_errors(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"not a photograph")
    for arguments, message in (
        ((folder, None), r"data\.well_lit is not set"),
        ((str(tmp_path / "missing"), folder), r"data\.backlit: .*missing does not exist"),
        ((folder, folder, None, folder), r"data\.test_input is not"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            FolderPhotos(*arguments, **COMMON).setup()
    with pytest.raises(ConfigurationError, match=r"bad\.png"):
        FolderPhotos(folder, folder, **COMMON, strict=True).setup()
    with pytest.warns(UserWarning, match=r"1 of 3"):
        FolderPhotos(folder, folder, **COMMON).setup()


def test_unmatched_test_photographs_are_counted(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    inputs = fill(tmp_path / "input", "x.png", "y.png")
    references = fill(tmp_path / "reference", "x.png", "z.png")
    module = FolderPhotos(folder, folder, inputs, references, **COMMON)
    expected = (
        r"data\.test_input and data\.test_reference: 2 of 4 .*y\.png \(no references\), z\.png \(no input\)"
    )
    with pytest.warns(UserWarning, match=expected):
        module.setup()
    assert module.test is not None
    assert module.test.names == ["x"]
    with pytest.raises(ConfigurationError, match=r"2 of 4 .*data\.strict=false"):
        FolderPhotos(folder, folder, inputs, references, **COMMON, strict=True).setup()


def test_test_folders_without_a_common_name_are_an_error(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    other = fill(tmp_path / "other", "c.png")
    with pytest.raises(
        ConfigurationError, match=r"data\.test_input and data\.test_reference.*a\.png.*c\.png"
    ):
        FolderPhotos(folder, folder, folder, other, **COMMON).setup()


def test_copies_among_the_test_pairs_count_once(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    inputs = Path(fill(tmp_path / "input", "0152.png", "0153.png"))
    references = Path(fill(tmp_path / "reference", "0152.png", "0153.png"))
    for pairs in (inputs, references):
        (pairs / "0152(2).png").write_bytes((pairs / "0152.png").read_bytes())
    # the same input with another reference is another pair
    (inputs / "0154.png").write_bytes((inputs / "0152.png").read_bytes())
    (references / "0154.png").write_bytes((references / "0153.png").read_bytes())
    module = FolderPhotos(folder, folder, str(inputs), str(references), **COMMON)
    with pytest.warns(
        UserWarning, match=r"1 of 4 are copies and count once: 0152\(2\)\.png \(a copy of 0152\.png\)"
    ):
        module.setup()
    assert module.test is not None
    assert module.test.names == ["0152", "0153", "0154"]


def test_a_manifest_takes_the_place_of_the_folders(tmp_path: Path) -> None:
    for name in ("dark", "bright", "input", "reference"):
        fill(tmp_path / name, "a.png", "b.png")
    lines = [
        "input,reference,split,label,scene",
        "dark/a.png,,train,backlit,1",
        "bright/b.png,,train,well_lit,2",
        "dark/b.png,,train,backlit,3",
        "input/a.png,reference/a.png,test,backlit,4",
        "input/b.png,reference/b.png,val,backlit,5",
    ]
    (tmp_path / "photos.csv").write_text("\n".join(lines))
    listed = FolderPhotos(manifest="photos.csv", root=str(tmp_path), **COMMON)
    folders = FolderPhotos("dark", "bright", root=str(tmp_path), **COMMON)
    with pytest.warns(UserWarning, match=r"data\.well_lit: .*one photograph only"):
        listed.setup()
    folders.setup()
    assert (listed.backlit.names, listed.well_lit.names) == (["a", "b"], ["b"])
    assert torch.equal(listed.backlit[1], folders.backlit[1])
    assert listed.test is not None
    assert listed.test.names == ["a"]
    assert listed.validation is not None
    assert listed.validation[0]["name"] == "b"
    (tmp_path / "photos.csv").write_text("\n".join(lines[:2]))
    with pytest.raises(ConfigurationError, match=r"photos\.csv: .*label well_lit.*labels found are backlit"):
        FolderPhotos(manifest="photos.csv", root=str(tmp_path), **COMMON).setup()


def test_the_cache_on_disk_changes_no_batch(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png", "c.png")
    cached = {"cache": True, "cache_dir": str(tmp_path / "cache")}
    modules = [FolderPhotos(folder, folder, **COMMON, **options) for options in ({}, cached, cached)]
    for module in modules:
        module.setup()
    for plain, filling, filled in zip(*(batches(module, 3) for module in modules), strict=True):
        assert torch.equal(plain["image"], filling["image"])
        assert torch.equal(plain["image"], filled["image"])
    with pytest.raises(ConfigurationError, match=r"data\.cache_dir is not set"):
        FolderPhotos(folder, folder, **COMMON, cache=True)


def test_figures_on_a_part_of_a_test_set_are_not_its_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BAID, "counts", {"test": 2})
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    test = fill(tmp_path / "test", "x.png", "y.png")

    def protocol(**changes: Any) -> str:
        module = FolderPhotos(folder, folder, test, test, **{**COMMON, "protocol": "baid", **changes})
        module.setup()
        return module.protocol.name

    assert protocol() == "baid"
    assert protocol(test_size=16) == "rgb8"
    (tmp_path / "test" / "y.png").unlink()
    assert protocol() == "rgb8"
    with pytest.raises(ConfigurationError, match=r"data\.protocol: no protocol 'bad'\. There are rgb8, baid"):
        protocol(protocol="bad")


def test_photographs_that_are_trained_and_tested_on_are_said(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png")
    with pytest.warns(
        UserWarning, match=r"data\.test_input: 2 of 2 photographs are trained on, too, such as a\.png"
    ):
        FolderPhotos(folder, folder, folder, **COMMON).setup()


def test_a_table_whose_test_scene_is_trained_on_loses_the_training_row(tmp_path: Path) -> None:
    fill(tmp_path / "dark", "a.png", "b.png", "c.png")
    fill(tmp_path / "bright", "d.png", "e.png")
    lines = ["input,split,label,scene", "dark/a.png,train,backlit,1", "dark/b.png,train,backlit,2"]
    lines += ["dark/c.png,train,backlit,3", "bright/d.png,train,well_lit,4", "bright/e.png,train,well_lit,5"]
    lines += ["dark/a.png,test,backlit,9"]
    (tmp_path / "photos.csv").write_text("\n".join(lines))
    module = FolderPhotos(manifest="photos.csv", root=str(tmp_path), **COMMON)
    with pytest.warns(
        UserWarning, match=r"data\.manifest: 1 of 6 .*a\.png .*the same as dark/a\.png in the test"
    ):
        module.setup()
    assert module.backlit.names == ["b", "c"]


@pytest.mark.parametrize("label", ["well-lit", "Well lit", "welllit"])
def test_a_table_that_misspells_well_lit_is_refused(tmp_path: Path, label: str) -> None:
    fill(tmp_path / "photos", "a.png", "b.png", "c.png")
    rows = ["input,label", "photos/a.png,backlit", "photos/b.png,well_lit", f"photos/c.png,{label}"]
    (tmp_path / "photos.csv").write_text("\n".join(rows))
    with pytest.raises(ConfigurationError, match=rf"labels found are backlit, well_lit, {label}"):
        FolderPhotos(manifest="photos.csv", root=str(tmp_path), **COMMON).setup()


def test_a_table_beside_folders_says_that_it_takes_their_place(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png", "b.png", "c.png", "d.png")
    labels = {"a": "backlit", "b": "backlit", "c": "well_lit", "d": "well_lit"}
    rows = ["input,label", *(f"photos/{name}.png,{label}" for name, label in labels.items())]
    (tmp_path / "photos.csv").write_text("\n".join(rows))
    module = FolderPhotos(folder, folder, manifest="photos.csv", root=str(tmp_path), **COMMON)
    with pytest.warns(UserWarning, match=r"data\.manifest=photos\.csv takes the place of data\.backlit"):
        module.setup()
    assert (module.backlit.names, module.well_lit.names) == (["a", "b"], ["c", "d"])


def test_photographs_in_both_roles_are_said(tmp_path: Path) -> None:
    folder, other = fill(tmp_path / "photos", "a.png", "b.png"), fill(tmp_path / "other", "c.png", "d.png")
    with pytest.warns(UserWarning, match=r"data\.backlit and data\.well_lit have 2 photographs in common"):
        FolderPhotos(folder, [other, folder], **COMMON).setup()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FolderPhotos(folder, other, **COMMON).setup()


def test_folders_below_the_root_are_found_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "baid_380").mkdir()
    fill(tmp_path / "baid_380" / "Resize_Input", "a.png", "b.png")
    other = fill(tmp_path / "other", "c.png", "d.png")
    module = FolderPhotos("BAID_380/resize_input", other, root=str(tmp_path), **COMMON)
    module.setup()
    assert module.backlit.names == ["a", "b"]
