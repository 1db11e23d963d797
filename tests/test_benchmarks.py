"""A benchmark compares two ways to the same loss, or to the same batches."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.__main__ import report
from benchmarks.enhancement_step import (
    enhancement_stage,
    random_batch,
    stage_loss,
    straightforward_loss,
    straightforward_network,
)
from benchmarks.photo_loading import Peak, data_module, memory_table, write_photos
from benchmarks.prompt_stage import Straightforward, bank_loss, prompt_pair
from benchmarks.stand_ins import random_photos, random_pixels
from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.data.augmentation import Augmentation
from relit.feature_bank import FeatureBank


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def test_both_prompt_steps_have_one_loss_and_one_gradient(clip: FrozenClip) -> None:
    pair = prompt_pair(clip)
    straightforward = Straightforward(clip, pair)
    bank = FeatureBank(clip, Augmentation(), 1, 0, torch.device("cpu"))
    bank.add("photos", random_photos(2, 32))
    expected = straightforward(random_pixels(2, 32).float() / 255)
    found = bank_loss(pair, bank, torch.arange(2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    (expected + found).backward()
    (all_positions,), (those_that_matter,) = gradients(straightforward), gradients(pair)
    count = those_that_matter.shape[1]
    assert all_positions.shape[1] == clip.context_length > count
    torch.testing.assert_close(those_that_matter, all_positions[:, :count], rtol=1e-3, atol=1e-6)
    assert (all_positions[:, count:] == 0).all()


def test_both_enhancement_steps_have_one_loss_and_one_gradient(clip: FrozenClip) -> None:
    stage = enhancement_stage(clip, load_clip("tiny-ResNet", "embedded"))
    network, batch = straightforward_network(stage), random_batch(2, 32)
    expected, found = straightforward_loss(stage, network, batch), stage_loss(stage, batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    (expected + found).backward()
    for ours, theirs in zip(gradients(stage.network), gradients(network), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("kind", ["squares", "crops"])
def test_loading_decoded_photographs_gives_the_same_batches(tmp_path: Path, kind: str) -> None:
    write_photos(tmp_path, 12, 30, 48)
    assert len({path.read_bytes() for path in tmp_path.rglob("*.jpg")}) == 24
    decoding = data_module(kind, tmp_path, None, side=24).train_dataloader()
    cached = data_module(kind, tmp_path, tmp_path / "cache", side=24).train_dataloader()
    for expected, found in zip(islice(decoding, 4), islice(cached, 4), strict=True):
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
        pixels = found["image" if kind == "squares" else "reference"]
        assert pixels.shape == (8, 3, 24, 24)
        assert len(pixels.unique()) > 10
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(entries) == (12 if kind == "squares" else 24)


def test_memory_is_reported_for_few_and_many_photographs() -> None:
    peaks = {"768x512, crops": (Peak(800.4, 500.0), Peak(810.0, 501.0))}
    assert "800 and   810" in memory_table(peaks)
    assert memory_table({}) == ""
    written = json.loads(json.dumps(report({"a step": (3.0, 1.5)}, peaks)))
    assert written["benchmarks"]["a step"]["ratio"] == 2
    assert written["loading_peak_mib"]["768x512, crops"][1] == {"resident": 810, "anonymous": 501}
