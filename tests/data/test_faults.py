"""Exposure faults: light computed by hand, noise by its statistics, draws that know only their position."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from relit.data.faults import ExposureFaults, Fault, take_badly
from relit.data.synthesis import KNEE, open_highlights, shade_map, shoulder, smooth_within_edges
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

USUAL: dict[str, Any] = {
    "ev": [[-3, -1], [1, 3]],
    "backlit": 0.3,
    "shade_ev": [-3.5, -1.5],
    "light_ev": [-0.5, 1],
    "white_balance": 0.15,
    "headroom": [1.5, 2.5],
    "shot": [0, 4e-4],
    "read": [0, 1e-3],
}
CLEAN = Fault("well_lit", 0, 0, 1, 1, headroom=2, shot=0, read=0, seed=0)


def even(ev: float, **changes: Any) -> Fault:
    return replace(CLEAN, shade_ev=ev, light_ev=ev, **changes)


def photos(count: int, size: int = 24) -> Tensor:
    shape = (count, 3, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=keyed_generator(count, size))


def grey(*codes: int) -> Tensor:
    return torch.tensor(codes, dtype=torch.uint8).expand(1, 3, 4, len(codes)).contiguous()


def taken(photo: Tensor, fault: Fault) -> list[int]:
    """The green codes of the first line."""
    return take_badly(photo, [fault])[0, 1, 0].tolist()


def linear(code: float) -> float:
    level = code / 255
    return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


def code(light: float) -> float:
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


# --- light ---


@pytest.mark.parametrize("ev", [-3.0, -1.0, 1.0])
def test_a_stop_halves_or_doubles_the_light_of_a_grey(ev: float) -> None:
    # below the knee before and after, so no highlight is compressed
    codes = [5, 40, 90, 110]
    assert taken(grey(*codes), even(ev)) == [round(code(linear(c) * 2**ev)) for c in codes]
    # 110 is 0.1559 of white; half of it, 0.0780, is 0.3100 in sRGB
    assert taken(grey(110), even(-1)) == [79]


def test_without_a_fault_a_photograph_stays_as_it_is() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16).contiguous()
    for headroom in (0.0, 1.0, 2.5):
        assert torch.equal(take_badly(every, [replace(CLEAN, headroom=headroom)]), every)


def test_highlights_are_clipped_and_stay_lost() -> None:
    bright = taken(grey(200, 230, 255), even(2, headroom=0))
    assert bright == [255, 255, 255]
    back = taken(grey(*bright), even(-2, headroom=0))
    assert back == [round(code(0.25))] * 3


def test_highlights_that_a_camera_compressed_stay_brighter_when_it_exposes_less() -> None:
    # white stands for 2**2 times as much light, of which a quarter is rendered like a light of 1
    bend = (2**2 - 1) / (1 - KNEE)
    above = (1 - KNEE) / (1 - KNEE)
    rendered = KNEE + (1 - KNEE) * 2 * above / (1 + math.sqrt(1 + 4 * bend * above))
    assert taken(grey(255), even(-2)) == [round(code(rendered))]
    assert taken(grey(255), even(-2, headroom=0)) == [round(code(0.25))]
    assert code(rendered) > code(0.25) + 60


def test_the_shoulder_undoes_what_opens_highlights_and_keeps_the_order_of_lights() -> None:
    light = torch.linspace(0, 1, 1001, dtype=torch.float64).expand(1, 3, 1, 1001)
    for stops in (0.0, 1.0, 3.0):
        headroom = torch.tensor(stops, dtype=torch.float64).reshape(1, 1, 1, 1)
        scene = open_highlights(light, headroom)
        assert float(scene.max()) == pytest.approx(2**stops)
        torch.testing.assert_close(scene[light <= KNEE], light[light <= KNEE])
        torch.testing.assert_close(shoulder(scene, headroom), light)
        assert (scene.diff() > 0).all()
        assert float(shoulder(2 * scene.max() + 0 * scene, headroom).min()) == 1


@pytest.mark.parametrize("ev", [-4.0, -0.3, 0.3, 4.0])
def test_what_was_brighter_is_never_darker_afterwards(ev: float) -> None:
    before = grey(*range(256))
    after = torch.tensor(taken(before, even(ev)))
    assert (after.diff() >= 0).all()
    assert ((after <= before[0, 0, 0]) if ev < 0 else (after >= before[0, 0, 0])).all()


def test_white_balance_scales_red_and_blue_and_leaves_green() -> None:
    image = grey(60, 100)
    found = take_badly(image, [replace(CLEAN, red_gain=1.2, blue_gain=0.8)])[0, :, 0]
    for channel, gain in enumerate((1.2, 1.0, 0.8)):
        assert found[channel].tolist() == [round(code(linear(c) * gain)) for c in (60, 100)]


# --- noise ---


@pytest.mark.parametrize("ev", [0.0, -2.0])
def test_noise_has_the_variance_of_its_light_and_of_reading(ev: float) -> None:
    image = torch.full((1, 3, 160, 160), 120, dtype=torch.uint8)
    shot, read = 2e-4, 1e-3
    found = take_badly(image, [even(ev, shot=shot, read=read)])[0].double()
    light = linear(120) * 2**ev
    # the noise is small, so sRGB is straight within it: its slope carries the deviation over to codes
    slope = (code(light + 1e-4) - code(light - 1e-4)) / 2e-4
    variance = slope**2 * (shot * light + read**2) + 1 / 12
    assert float(found.mean()) == pytest.approx(code(light), abs=0.3)
    assert float(found.var()) == pytest.approx(variance, rel=0.04)
    # neighbours and channels are independent
    centred = found - found.mean()
    assert abs(float((centred[:, :, 1:] * centred[:, :, :-1]).mean())) < 0.02 * variance
    assert abs(float((centred[0] * centred[1]).mean())) < 0.03 * variance


def test_noise_is_another_for_another_seed() -> None:
    image = torch.full((1, 3, 8, 8), 120, dtype=torch.uint8)
    one, again, other = (take_badly(image, [even(0, read=0.01, seed=seed)]) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# --- backlight ---


def test_a_backlit_photograph_gets_its_stops_in_the_shade_and_in_the_light() -> None:
    image = torch.full((1, 3, 32, 32), 60, dtype=torch.uint8)
    image[..., 16:] = 100
    fault = replace(CLEAN, shade_ev=-2, light_ev=0.5)
    found = take_badly(image, [fault])[0, 1].int()
    for half, level in ((found[:, :16], 60), (found[:, 16:], 100)):
        assert half.min() >= round(code(linear(level) / 4))
        assert half.max() <= round(code(linear(level) * 2**0.5))
    assert found[:, :16].float().mean() / 60 < found[:, 16:].float().mean() / 100


def test_the_shade_is_where_the_photograph_is_dark_and_ends_at_its_edge() -> None:
    image = torch.full((1, 3, 64, 64), 0.25)
    image[..., 32:] = 0.9
    shade = shade_map(image, torch.zeros(1, 1, 64, 64))[0, 0]
    assert shade[:, :32].min() > 0.9
    assert shade[:, 32:].max() < 0.5
    # no halo: right at the edge it is what it is far from it
    assert (shade[:, 31] - shade[:, 0]).abs().max() < 0.15
    assert (shade[:, 32] - shade[:, 63]).abs().max() < 0.15


def test_an_even_photograph_is_shaded_by_the_field_alone() -> None:
    field = torch.linspace(-2, 2, 20).expand(1, 1, 20, 20)
    shade = shade_map(torch.full((1, 3, 20, 20), 0.4), field)
    torch.testing.assert_close(shade, torch.sigmoid(3 * (0.7 * field + 0.6)), atol=1e-4, rtol=0)


def test_smoothing_flattens_texture_and_keeps_edges() -> None:
    image = torch.full((1, 1, 96, 96), 0.2)
    image[..., 48:] = 0.8
    textured = image + 0.05 * torch.randn(image.shape, generator=keyed_generator("texture"))
    smooth = smooth_within_edges(textured)
    assert (smooth - image)[..., :8].std() < 0.3 * 0.05
    assert (smooth[..., 48] - smooth[..., 47]).mean() > 0.4


# --- draws ---


def test_a_fault_is_a_function_of_key_and_position() -> None:
    faults = ExposureFaults(**USUAL)
    forwards = [faults.draw(position, 3) for position in range(40)]
    assert [ExposureFaults(**USUAL).draw(position, 3) for position in reversed(range(40))] == forwards[::-1]
    assert len({fault.seed for fault in forwards}) == 40
    assert len({fault.shade_ev for fault in forwards}) == 40
    assert faults.draw(0, 4) != forwards[0]
    assert faults.draw(0, "photo", "a.png") != faults.draw(0, "photo", "b.png")


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    take_badly(photos(1), [ExposureFaults(**USUAL).draw(0, 1)])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_of_all_kinds_is_what_its_photographs_are_one_by_one() -> None:
    faults = [ExposureFaults(**USUAL).draw(position, 0) for position in range(12)]
    assert {fault.label for fault in faults} == {"under", "over", "backlit"}
    for size in (24, 75):
        images = photos(12, size)
        together = take_badly(images, faults)
        assert together.shape == images.shape
        assert together.dtype == torch.uint8
        alone = torch.cat([take_badly(images[i : i + 1], faults[i : i + 1]) for i in range(12)])
        assert torch.equal(together, alone)
        order = torch.randperm(12, generator=keyed_generator("order")).tolist()
        assert torch.equal(take_badly(images[order], [faults[i] for i in order]), together[order])


def test_kinds_come_with_their_shares_and_numbers_fill_their_ranges() -> None:
    faults = ExposureFaults(**{**USUAL, "ev": [-1.5, 0, [1, 2]]})
    drawn = [faults.draw(position, "shares") for position in range(4000)]
    share = {label: count / 4000 for label, count in Counter(fault.label for fault in drawn).items()}
    # four standard deviations of a share of 0.3 among 4,000
    assert share == pytest.approx(
        {"backlit": 0.3, "under": 0.7 / 3, "well_lit": 0.7 / 3, "over": 0.7 / 3}, abs=0.029
    )
    ranges = {
        "backlit": [("shade_ev", -3.5, -1.5), ("light_ev", -0.5, 1)],
        "under": [("shade_ev", -1.5, -1.5), ("light_ev", -1.5, -1.5)],
        "over": [("shade_ev", 1, 2), ("headroom", 1.5, 2.5), ("shot", 0, 4e-4), ("read", 0, 1e-3)],
        "well_lit": [("shade_ev", 0, 0), ("red_gain", 2**-0.15, 2**0.15), ("blue_gain", 2**-0.15, 2**0.15)],
    }
    for label, expected in ranges.items():
        for name, low, high in expected:
            values = [getattr(fault, name) for fault in drawn if fault.label == label]
            assert low <= min(values) <= low + 0.02 * (high - low)
            assert high - 0.02 * (high - low) <= max(values) <= high
    assert all(fault.shade_ev == fault.light_ev for fault in drawn if fault.label != "backlit")


def test_changing_one_setting_changes_nothing_else() -> None:
    usual = [ExposureFaults(**USUAL).draw(position, 0) for position in range(30)]
    quiet = [ExposureFaults(**{**USUAL, "read": [0, 0]}).draw(position, 0) for position in range(30)]
    assert [replace(fault, read=0.0) for fault in usual] == quiet


# --- settings ---


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ev", [], "a list of stops or of ranges"),
        ("ev", 1.5, "a list of stops or of ranges"),
        ("ev", [[1, 2, 3]], r"a range \[lower, upper\]"),
        ("ev", [[2, 1]], "the lower bound first"),
        ("ev", ["dark"], r"a range \[lower, upper\], found dark"),
        ("ev", [["dark", 1]], "a number, found dark"),
        ("ev", [math.nan], "a number, found nan"),
        ("backlit", 1.5, "at least 0 and at most 1, found 1.5"),
        ("shade_ev", -2, r"a range \[lower, upper\], found -2"),
        ("light_ev", [-2, 1], r"no less than in the shade \(-1.5\)"),
        ("white_balance", -0.1, "at least 0, found -0.1"),
        ("headroom", [-1, 1], "at least 0, found -1"),
        ("shot", [0.2, 0.1], "the lower bound first"),
        ("read", [0, True], "a number, found True"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"data\.faults\.{key}: expected {said}"):
        ExposureFaults(**{**USUAL, key: value})


def test_photographs_and_faults_must_match() -> None:
    with pytest.raises(ValueError, match="expected 1 photos in uint8, got 2"):
        take_badly(photos(2), [CLEAN])
    with pytest.raises(ValueError, match=r"in torch\.float32"):
        take_badly(photos(1).float(), [CLEAN])
