"""Exposure faults in linear light, against formulas written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from relit.data.synthesis import (
    backlight_map,
    backlit,
    expose,
    quantise,
    sensor,
    smooth_field,
    to_linear,
    to_srgb,
)
from relit.keyed import keyed_generator


def scene(count: int, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))


# --- sRGB ---


def test_srgb_is_the_standards_formula() -> None:
    levels = np.arange(256) / 255
    # IEC 61966-2-1
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    image = torch.tensor(levels, dtype=torch.float64).expand(1, 3, 1, 256)
    expected = torch.tensor(linear).expand(1, 3, 1, 256)
    torch.testing.assert_close(to_linear(image), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(to_srgb(expected), image, atol=1e-6, rtol=1e-5)


def test_all_8_bit_levels_survive_the_round_trip() -> None:
    image = (torch.arange(256).float() / 255).expand(1, 3, 1, 256)
    assert torch.equal((to_srgb(to_linear(image)) * 255).round(), image * 255)


def test_white_is_where_the_sensor_clips() -> None:
    linear = torch.tensor([-0.1, 0.0, 1.0, 7.0]).expand(1, 3, 1, 4)
    torch.testing.assert_close(to_srgb(linear)[0, 0, 0], torch.tensor([0.0, 0.0, 1.0, 1.0]))


# --- exposure and sensor ---


def test_one_stop_doubles_radiance() -> None:
    linear = scene(2)
    assert torch.equal(expose(linear, torch.ones(2, 1, 1, 1)), 2 * linear)
    assert torch.equal(expose(linear, torch.zeros(2, 1, 1, 1)), linear)
    ev = torch.zeros(2, 1, 32, 32)
    ev[:, :, :16] = -3
    darkened = expose(linear, ev)
    assert torch.equal(darkened[:, :, :16], linear[:, :, :16] / 8)
    assert torch.equal(darkened[:, :, 16:], linear[:, :, 16:])


@pytest.mark.parametrize("signal", [0.02, 0.1, 0.5])
def test_noise_variance_is_shot_times_signal_plus_read_squared(signal: float) -> None:
    noise = torch.randn(1, 3, 300, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shot, read = 4e-4, 1e-3
    taken = sensor(torch.full_like(noise, signal), noise, shot, read)
    assert float(taken.mean()) == pytest.approx(signal, abs=1e-4)
    assert float(taken.var()) == pytest.approx(shot * signal + read**2, rel=0.02)


def test_without_noise_the_sensor_only_clips() -> None:
    linear = 3 * scene(1)
    assert torch.equal(sensor(linear, torch.zeros_like(linear)), linear.clamp(max=1))


def test_quantised_values_are_8_bit_and_the_nearest() -> None:
    image = scene(1)
    levels = quantise(image) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert (levels - image * 255).abs().max() <= 0.5 + 1e-4


# --- backlight ---


def test_smooth_fields_are_smooth_and_of_about_unit_variance() -> None:
    fields = smooth_field(torch.Generator().manual_seed(0), 400, (32, 40))
    assert fields.shape == (400, 1, 32, 40)
    # the grid's own points are kept
    assert float(fields[:, 0, 0, 0].std()) == pytest.approx(1, abs=0.1)
    steps = fields[..., 1:] - fields[..., :-1]
    assert steps.abs().mean() < 0.15 * fields.std()


def test_the_shade_and_the_bright_side_get_their_exposure() -> None:
    linear = scene(8)
    ev = backlight_map(linear, torch.Generator().manual_seed(0), (-3.0, -1.5), (-0.7, 0.2))
    assert ev.shape == (8, 1, 32, 32)
    assert ev.min() >= -3
    assert ev.max() <= 0.2
    within = ev.flatten(1)
    assert (within.amax(1) - within.amin(1) > 0.5).all()


def test_light_comes_from_the_bright_side() -> None:
    linear = torch.full((64, 3, 32, 32), 0.05)
    linear[..., 16:] = 0.8
    ev = backlight_map(linear, torch.Generator().manual_seed(0), (-3.0, -2.0), (-0.5, 0.0))
    darker = ev[..., :16].mean((1, 2, 3)) < ev[..., 16:].mean((1, 2, 3))
    assert darker.float().mean() > 0.9


def test_fixed_exposures_make_an_even_map() -> None:
    ev = backlight_map(scene(2), torch.Generator().manual_seed(0), (-2.0, -2.0), (-2.0, -2.0))
    torch.testing.assert_close(ev, torch.full_like(ev, -2.0))


def test_backlit_is_the_map_the_sensor_and_8_bits() -> None:
    image = scene(3)
    found = backlit(image, keyed_generator("backlit"))
    generator = keyed_generator("backlit")
    ev = backlight_map(to_linear(image), generator, (-3.0, -1.5), (-0.7, 0.2))
    clean = quantise(to_srgb(expose(to_linear(image), ev)))
    torch.testing.assert_close(found * 255, (found * 255).round(), atol=1e-4, rtol=0)
    # darkest parts first: the noise is a few levels, the shade many
    assert (found - clean).abs().mean() < 0.02
    shade = (ev < -1.5).expand_as(image)
    assert (found[shade] < image[shade] + 0.05).float().mean() > 0.99
    assert torch.equal(backlit(image, keyed_generator("backlit")), found)
    assert not torch.equal(backlit(image, keyed_generator("another")), found)
