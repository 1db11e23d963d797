"""Colours of a photograph: its ICC profile to sRGB, in which methods work, and back again."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from PIL import ImageCms
from torch import Tensor

from relit.photo_file.photograph import Photograph

# By the colour space that an ICC profile has in its header: the name that imagecodecs has for it, channels.
_SPACES = {b"RGB ": ("rgb", 3), b"GRAY": ("gray", 1), b"CMYK": ("cmyk", 4)}


def describes(profile: bytes, channels: int) -> bool:
    """Whether an ICC profile is whole and says which colours pixels of so many channels are.

    A grey photograph may carry the RGB profile of its editor.
    """
    space = _SPACES.get(profile[16:20])
    if space is None or (space[1] != channels and (space[1], channels) != (3, 1)):
        return False
    try:
        _to_srgb(np.zeros((1, 1, space[1]), np.uint8), profile)
    except RuntimeError:
        return False
    return True


def srgb_of(photo: Photograph) -> Tensor:
    """The colours of a photograph in sRGB: float32, (1, 3, H, W).

    Nominally in [0, 1]. Colours of a larger profile that sRGB does not hold lie outside of it, so that
    :func:`with_srgb` can give them back. Pixels without profile, or with one that is sRGB up to rounding, are
    the stored levels divided by the largest. CMYK without profile is (1 - C)(1 - K).

    Relative colorimetric, with black point compensation, in floating point (littleCMS).
    """
    samples = photo.samples
    if photo.profile is not None and not _is_srgb(photo.profile):
        _, channels = _SPACES[photo.profile[16:20]]
        if channels == 3:
            samples = np.broadcast_to(samples, (*samples.shape[:2], 3))
        colours = _to_srgb(samples, photo.profile)
    else:
        colours = samples.astype(np.float32) / np.iinfo(samples.dtype).max
        if samples.shape[2] == 4:
            colours = (1 - colours[..., :3]) * (1 - colours[..., 3:])
    colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
    return torch.from_numpy(np.array(colours)).permute(2, 0, 1)[None].contiguous()


def with_srgb(photo: Photograph, colours: Tensor) -> Photograph:
    """The photograph in other colours, given in sRGB, at its own depth and in its own profile.

    A grey photograph stays grey if the colours are, up to one level. The profile is the photograph's where it
    can say what the colours are: an RGB profile, or that of a grey photograph for a grey result. Others (of
    CMYK, of a grey photograph that has become coloured, of a scanner, which can't be converted to) give way
    to sRGB's. From 16 bits to sRGB and back a pixel of a profile of matrix and curves differs by at most a
    few of 65,535 levels; tables in a profile are as exact as they are.

    Args:
        colours: shape (1, 3, H, W), as :func:`srgb_of` gives them; what lies outside of the result's profile
            is clipped.
    """
    srgb = colours[0].permute(1, 2, 0).cpu().contiguous().numpy()
    largest = np.iinfo(photo.samples.dtype).max
    grey = photo.is_grey and float(np.ptp(srgb, axis=2).max()) * largest <= 1
    values, profile = _in_profile(photo.profile, srgb, grey)
    levels = np.rint(values.clip(0, 1) * largest).astype(photo.samples.dtype)
    # of three equal channels any will do
    return replace(photo, samples=levels[..., -1:] if grey else levels, profile=profile)


def _in_profile(profile: bytes | None, srgb: np.ndarray, grey: bool) -> tuple[np.ndarray, bytes | None]:
    if profile is None or _is_srgb(profile):
        return srgb, profile
    _, channels = _SPACES[profile[16:20]]
    if channels == 3 or (channels == 1 and grey):
        try:
            return _transformed(srgb, srgb_profile(), profile), profile
        except RuntimeError:  # a profile for one direction only
            pass
    return srgb, srgb_profile()


def _to_srgb(samples: np.ndarray, profile: bytes) -> np.ndarray:
    return _transformed(samples, profile, srgb_profile())


def _transformed(pixels: np.ndarray, source: bytes, target: bytes) -> np.ndarray:
    """Pixels (H, W, C) of one profile in another, float32, not clipped.

    Raises: RuntimeError where a profile is damaged or does not work in this direction.
    """
    from imagecodecs import CMS, cms_transform

    (space, channels), (other, others) = _SPACES[source[16:20]], _SPACES[target[16:20]]
    converted = cms_transform(
        # a copy: the strides of a view on a single row or column are not what littleCMS is asked for
        (pixels[..., 0] if channels == 1 else pixels).copy(order="C"),
        source,
        target,
        colorspace=space,
        outcolorspace=other,
        outdtype=np.float32,
        intent=CMS.INTENT.RELATIVE_COLORIMETRIC,
        flags=CMS.FLAGS.BLACKPOINTCOMPENSATION,
    )
    return converted.reshape(*pixels.shape[:2], others)


@lru_cache(1)
def srgb_profile() -> bytes:
    """The ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@lru_cache(16)
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile is sRGB up to one of 255 levels: converting would only add rounding errors."""
    if profile[16:20] != b"RGB ":
        return False
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(27, 27, 3)
    return bool(np.abs(_to_srgb(lattice, profile) * 255 - lattice).max() <= 1)
