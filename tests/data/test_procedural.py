"""Rendered scenes: a function of the key, exposed as a photographer would."""

from __future__ import annotations

import math

import pytest
import torch

from relit.data.procedural import LOG_AVERAGE, procedural_scene

LUMA = torch.tensor([0.2126, 0.7152, 0.0722])


def test_the_key_is_the_scene() -> None:
    scene = procedural_scene(48, 7, 1)
    assert scene.dtype == torch.float32
    assert scene.shape == (3, 48, 48)
    assert torch.equal(procedural_scene(48, 7, 1), scene)
    assert not torch.equal(procedural_scene(48, 7, 2), scene)
    assert not torch.equal(procedural_scene(48, "7", 1), scene)


def test_scenes_are_well_exposed_linear_light() -> None:
    scenes = torch.stack([procedural_scene(48, "exposure", i) for i in range(24)])
    assert torch.isfinite(scenes).all()
    assert scenes.min() >= 0
    luminance = (scenes * LUMA[:, None, None]).sum(1)
    stops = torch.log2((luminance + 1e-4).log().mean((1, 2)).exp() / LOG_AVERAGE)
    assert float(stops.abs().max()) < 4 * 0.2
    assert float(stops.mean()) == pytest.approx(0, abs=3 * 0.2 / math.sqrt(24))


def test_scenes_have_edges_and_differ_in_colour() -> None:
    scenes = torch.stack([procedural_scene(48, "content", i) for i in range(12)])
    contrast = scenes.flatten(1).std(1) / scenes.flatten(1).mean(1)
    assert (contrast > 0.3).all()
    hues = scenes.mean((2, 3)) / scenes.mean((1, 2, 3))[:, None]
    assert (hues.std(0) > 0.05).all()
