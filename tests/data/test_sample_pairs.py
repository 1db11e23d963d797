"""Pairs made of the embedded scenes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from relit.data.faults import ExposureFaults, take_badly
from relit.data.photographs import photographs
from relit.data.sample_pairs import SamplePairs
from relit.errors import ConfigurationError

FAULTS: dict[str, Any] = {
    "ev": [[-3, -1], [1, 3]],
    "backlit": 0.3,
    "shade_ev": [-3, -1],
    "light_ev": [0, 1],
    "white_balance": 0.1,
    "headroom": [1.5, 2.5],
    "shot": [0, 0],
    "read": [0, 0],
}


def sample(**changed: Any) -> SamplePairs:
    options: dict[str, Any] = {
        "size": 24, "crop": 16, "crops": 4, "procedural": 3, "exposures": 2,
        "test_size": 32, "batch_size": 3, "seed": 0,
    }  # fmt: skip
    module = SamplePairs(faults=instantiate({"_target_": ExposureFaults, **FAULTS}), **{**options, **changed})
    module.setup()
    return module


def test_a_training_batch_holds_good_crops_and_the_faults_that_their_positions_draw() -> None:
    module = sample(augment=False)
    batch = next(iter(module.train_dataloader()))
    made = module.on_after_batch_transfer(batch, 0)
    positions = batch["position"].tolist()
    expected = take_badly(batch["input"], [module.faults.draw(position, 0) for position in positions])
    assert torch.equal(made["input"], expected)
    assert torch.equal(made["reference"], batch["input"])
    assert made["reference"].shape == (3, 3, 16, 16)


def test_test_scenes_are_the_bundled_ones_in_several_exposures_whatever_the_seed() -> None:
    one, other = sample(), sample(seed=5)
    assert one.test is not None
    assert other.test is not None
    assert len(one.test) == 2 * len(photographs("test"))
    for index in range(len(one.test)):
        pair, again = one.test[index], other.test[index]
        assert torch.equal(pair["input"], again["input"])
        assert pair["input"].shape == pair["reference"].shape
        assert max(pair["input"].shape[1:]) == 32
        assert pair["label"] in ("under", "over", "backlit")
    assert not torch.equal(one.test[0]["input"], one.test[1]["input"])
    assert torch.equal(one.test[0]["reference"], one.test[1]["reference"])


def test_no_crop_of_a_held_out_photograph_is_trained_on() -> None:
    module = sample(held_out=4, crops=9)
    assert module.validation is not None
    held_out = {name.rpartition("-")[0] for name in module.validation.names if "procedural" not in name}
    assert held_out
    assert not held_out & {name.rpartition("-")[0] for name in module.training_names()}


def test_crops_larger_than_the_scenes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"data\.size: expected at least 32, found 24"):
        sample(crop=32)
