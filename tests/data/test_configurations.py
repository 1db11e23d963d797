"""Every file of ``conf/data`` gives a data module with all its splits, once ``data.root`` is set."""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import replicas
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from relit.data.datamodule import PhotoData
from relit.errors import ConfigurationError
from relit.instantiation import build
from relit.targets import target_problems

CONF = Path(__file__).resolve().parents[2] / "conf"
PAIRED = ["data.crop=8", "data.batch_size=2"]
UNPAIRED = ["data.size=8", "data.batch_size=2"]


def module(*overrides: str) -> PhotoData:
    """The data module of a composed configuration, set up."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = OmegaConf.to_container(
            compose("train", ["name=any", "run_dir=any", *overrides]).data, resolve=True
        )
    assert isinstance(data, dict)
    assert list(target_problems({"data": data}, [])) == []
    built: PhotoData = build(data)
    built.setup()
    return built


def labels(loader: Any) -> Counter[str]:
    return Counter(item["label"][0] for item in loader)


def batch(photos: PhotoData) -> dict[str, Any]:
    (first,) = islice(photos.train_dataloader(), 1)
    return photos.on_after_batch_transfer(first, 0)


@pytest.mark.parametrize(
    ("name", "val", "test"),
    [
        ("lcdp", {"mixed": 1}, {"mixed": 2}),
        ("msec", {"under": 2, "over": 3}, {"under": 4, "over": 6}),
        ("sice_v2", {}, {"under": 2, "over": 2}),
    ],
)
def test_a_data_set_of_pairs_needs_its_root_alone(
    name: str, val: dict[str, int], test: dict[str, int], tmp_path: Path
) -> None:
    root = getattr(replicas, name)(tmp_path / "data sets é")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photos = module(f"data={name}", f'data.root="{root}"', *PAIRED)
    assert labels(photos.val_dataloader()) == val
    assert labels(photos.test_dataloader()) == labels(photos.predict_dataloader()) == test
    assert photos.protocol.name == "rgb8"  # a replica is not the published split
    pairs = batch(photos)
    assert pairs["input"].shape == pairs["reference"].shape == (2, 3, 8, 8)


def test_every_expert_of_msec_and_all_of_them(tmp_path: Path) -> None:
    root = replicas.msec(tmp_path)
    for expert, times in (("a", 1), ("e", 1), ("all", 5)):
        photos = module("data=msec", f"data.root={root}", f"data.layout.expert={expert}", *PAIRED)
        assert labels(photos.test_dataloader()) == {"under": 4 * times, "over": 6 * times}
    with pytest.raises(ConfigurationError, match=r"data\.layout\.expert"):
        module("data=msec", f"data.root={root}", "data.layout.expert=f")


def test_raw_brackets_with_the_middle_or_the_fused_reference(tmp_path: Path) -> None:
    root = replicas.sice(tmp_path, {"part1": 4, "part2": 3})
    for reference in ("middle", "label"):
        with pytest.warns(UserWarning, match=r"data\.root: .* missing or unmatched"):
            photos = module("data=sice", f"data.root={root}", f"data.layout.reference={reference}", *PAIRED)
        assert batch(photos)["reference"].shape == (2, 3, 8, 8)


def test_baid_with_div2k_and_other_references(tmp_path: Path) -> None:
    root = replicas.baid(tmp_path)
    replicas.put(root / "FiveK" / "a0001.png")
    photos = module("data=baid", f"data.root={root}", *UNPAIRED)
    assert (len(photos.backlit), len(photos.well_lit), len(photos.test)) == (3, 2, 4)  # type: ignore[attr-defined,arg-type]
    assert batch(photos)["image"].shape == (2, 3, 8, 8)
    both = module("data=baid", f"data.root={root}", "data.well_lit=[DIV2K_384,FiveK]", *UNPAIRED)
    assert len(both.well_lit) == 3  # type: ignore[attr-defined]


def test_backlit300_is_tested_on_without_references(tmp_path: Path) -> None:
    root = replicas.backlit300(replicas.baid(tmp_path))
    photos = module("data=backlit300", f"data.root={root}", *UNPAIRED)
    items = list(photos.test_dataloader())
    assert items
    assert all("reference" not in item for item in items)


def test_pairs_of_ones_own_and_tables(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    home = next(path.parent for path in root.rglob("test-gt"))
    folders = ["data.layout.train_input=input", "data.layout.train_reference=gt"]
    photos = module("data=pairs", f"data.root={home}", *folders, *PAIRED)
    assert batch(photos)["input"].shape == (2, 3, 8, 8)
    assert photos.test is None
    assert photos.protocol.name == "rgb8"
    first = next((home / "input").iterdir())
    (home / "table.csv").write_text(f"input,reference\ninput/{first.name},gt/{first.name}\n")
    for data in ("data=pair_manifest", "data=lcdp"):
        photos = module(data, f"data.root={home}", "data.manifest=table.csv", *PAIRED)
        assert photos.train.names == [first.stem]  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=r"data\.manifest"):
        module("data=pair_manifest", *PAIRED)
    with pytest.raises(ConfigurationError, match=r"data\.manifest is not set"):
        module("data=photo_manifest", *UNPAIRED)


def test_good_photographs_and_their_faults(tmp_path: Path) -> None:
    for number in range(5):
        replicas.put(tmp_path / "good" / f"{number}.png", 20, 24)
    photos = module(
        "data=synthesised", f"data.root={tmp_path}", "data.photos=good", "data.test_photos=2", *PAIRED
    )
    pairs = batch(photos)
    assert pairs["input"].shape == pairs["reference"].shape == (2, 3, 8, 8)
    assert not (pairs["input"] == pairs["reference"]).all()
    assert len(list(photos.test_dataloader())) == 2
