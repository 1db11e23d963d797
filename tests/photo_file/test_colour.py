"""From a photograph's profile to sRGB and back."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from photo_files import levels
from PIL import Image, ImageCms

from relit.data.photo import read_photo
from relit.photo_file.colour import describes, srgb_of, srgb_profile, with_srgb
from relit.photo_file.photograph import Photograph
from relit.photo_file.reading import read_photograph


def wide_profile(gamma: float = 2.2) -> bytes:
    """A profile with the primaries of Adobe RGB (1998)."""
    primaries = [0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0]
    return imagecodecs.cms_profile("rgb", whitepoint=[0.3127, 0.3290, 1.0], primaries=primaries, gamma=gamma)


def grey_profile(gamma: float = 1.8) -> bytes:
    return imagecodecs.cms_profile("gray", whitepoint=[0.3457, 0.3585, 1.0], gamma=gamma)


def test_without_profile_colours_are_the_levels() -> None:
    for dtype in (np.uint8, np.uint16):
        photo = Photograph(levels((5, 6, 3), dtype))
        expected = torch.from_numpy(photo.samples.astype(np.float32)) / np.iinfo(dtype).max
        assert torch.equal(srgb_of(photo), expected.permute(2, 0, 1)[None])
        assert np.array_equal(with_srgb(photo, srgb_of(photo)).samples, photo.samples)


def test_srgb_profile_changes_nothing_and_stays() -> None:
    photo = Photograph(levels((5, 6, 3), np.uint8), profile=srgb_profile())
    assert torch.equal(srgb_of(photo), srgb_of(Photograph(photo.samples)))
    again = with_srgb(photo, srgb_of(photo))
    assert np.array_equal(again.samples, photo.samples)
    assert again.profile == photo.profile


def test_colours_are_those_that_the_decoder_for_training_sees(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.fromarray(levels((40, 40, 3), np.uint8)).save(path, icc_profile=wide_profile())
    seen = srgb_of(read_photograph(path)).clamp(0, 1) * 255
    assert (seen[0] - read_photo(path)).abs().max() < 1.5  # it works in 8 bits


def test_linear_light_becomes_srgb_by_its_formula() -> None:
    primaries = [0.64, 0.33, 1.0, 0.30, 0.60, 1.0, 0.15, 0.06, 1.0]
    linear = imagecodecs.cms_profile("rgb", whitepoint=[0.3127, 0.3290, 1.0], primaries=primaries, gamma=1.0)
    samples = np.repeat(np.arange(0, 65536, 97, dtype=np.uint16)[None, :, None], 3, axis=2)
    light = samples / 65535
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    seen = srgb_of(Photograph(samples, profile=linear))[0].permute(1, 2, 0).numpy()
    assert np.abs(seen - expected).max() < 2e-4


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 0), (np.uint16, 8)])
def test_wide_colours_come_back(dtype: type[np.unsignedinteger], most: int) -> None:
    photo = Photograph(levels((60, 60, 3), dtype), profile=wide_profile())
    colours = srgb_of(photo)
    assert colours.min() < -0.1  # beyond sRGB
    again = with_srgb(photo, colours)
    assert again.profile == photo.profile
    assert np.abs(again.samples.astype(int) - photo.samples).max() <= most


@pytest.mark.parametrize("profile", [None, wide_profile(), grey_profile()])
def test_grey_stays_grey_and_keeps_its_profile(profile: bytes | None) -> None:
    photo = Photograph(levels((6, 50, 1), np.uint16), profile=profile)
    colours = srgb_of(photo)
    assert (colours - colours.mean(1, keepdim=True)).abs().max() < 1e-4
    again = with_srgb(photo, colours)
    assert again.is_grey
    assert again.profile == profile
    assert np.abs(again.samples.astype(int) - photo.samples).max() <= 8


def test_a_grey_photograph_that_became_coloured_is_srgb() -> None:
    photo = Photograph(levels((6, 5, 1), np.uint8), profile=grey_profile())
    colours = srgb_of(photo)
    colours[:, 0] *= 0.5
    result = with_srgb(photo, colours)
    assert result.samples.shape == (6, 5, 3)
    assert result.profile == srgb_profile()
    assert np.array_equal(result.samples, np.rint(colours[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255))


def test_cmyk_becomes_rgb() -> None:
    ink = levels((4, 5, 4), np.uint16)
    light = 1 - ink / 65535
    expected = light[..., :3] * light[..., 3:]
    photo = Photograph(ink)
    seen = srgb_of(photo)[0].permute(1, 2, 0).numpy()
    assert np.abs(seen - expected).max() < 1e-6
    assert np.abs(with_srgb(photo, srgb_of(photo)).samples - expected * 65535).max() < 0.52


def test_profiles_that_are_damaged_or_of_other_pixels_describe_nothing() -> None:
    wide, grey = wide_profile(), grey_profile()
    assert describes(wide, 3)
    assert describes(wide, 1)
    assert describes(grey, 1)
    assert not describes(grey, 3)
    assert not describes(wide, 4)
    assert not describes(wide[:200], 3)
    assert not describes(b"no profile", 3)
    lab = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()).getvalue()
    assert not describes(lab, 3)
