"""What the embedded CLIP may learn from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from relit.data.photographs import photographs
from relit.data.procedural import procedural_scene
from relit.keyed import keyed_generator
from relit.tiny_clip import scenes
from relit.tiny_clip.scenes import photo_crop, scene_pool


def test_the_pool_never_sees_a_test_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: set[Path] = set()
    decode = scenes.decode

    def noted(path: Path) -> Image.Image:
        opened.add(path)
        return decode(path)

    monkeypatch.setattr(scenes, "decode", noted)
    scene_pool(crops=9, procedural=0, size=16, seed=0)
    train = {source.path() for role in ("input", "reference") for source in photographs(role)}
    assert opened == train
    assert not opened & {source.path() for source in photographs("test")}


def test_the_pool_is_crops_then_rendered_scenes_in_linear_light() -> None:
    pool = scene_pool(crops=4, procedural=2, size=24, seed=3)
    assert pool.dtype == torch.float16
    assert pool.shape == (6, 3, 24, 24)
    assert pool.min() >= 0
    assert pool[:4].max() <= 1
    assert torch.equal(pool[5], procedural_scene(24, 3, 1).half())
    assert torch.equal(pool, scene_pool(crops=4, procedural=2, size=24, seed=3))
    other = scene_pool(crops=4, procedural=2, size=24, seed=4)
    assert not any(torch.equal(one, two) for one, two in zip(pool, other, strict=True))


def test_a_crop_is_linear_light() -> None:
    source = photographs("input")[0]
    crop = photo_crop(source, 16, keyed_generator("crop")).float()
    with Image.open(source.path()) as opened:
        extremes = opened.convert("RGB").getextrema()
    assert crop.max() <= max(high for _, high in extremes) / 255
    # linear light is darker than its sRGB encoding
    assert crop.mean() < crop.clamp(0, 1).pow(1 / 2.2).mean()
