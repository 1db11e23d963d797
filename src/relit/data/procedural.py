"""Procedural scenes: dead leaves with sky, shading and texture, rendered in linear light.

A dead-leaves picture (shapes of power-law sizes that hide one another) has edges, occlusions and a spectrum
close to those of natural photographs. With a background gradient, a shading per shape, a coarse texture and
an even global exposure it serves as a well-exposed scene without any photograph.
"""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relit.keyed import keyed_seed

Array = NDArray[np.float32]

LOG_AVERAGE = 0.16
"""Log-average luminance of a rendered scene, in linear light with white at 1: a little under middle grey."""


def procedural_scene(size: int, *key: int | str) -> Tensor:
    """Render one well-exposed scene, a function of ``key`` alone.

    Returns:
        float32 (3, size, size), linear light, non-negative; highlights may exceed 1 (a sensor clips them).
    """
    rng = np.random.default_rng(keyed_seed("procedural_scene", *key))
    scene = _background(rng, size)
    for _ in range(int(rng.integers(25, 160))):
        _paint_leaf(rng, scene)
    scene *= np.exp(0.35 * _smooth_noise(rng, size, cells=int(rng.integers(2, 5))))[None]
    return torch.from_numpy(_exposed(rng, scene))


def _exposed(rng: np.random.Generator, scene: Array) -> Array:
    luminance = 0.2126 * scene[0] + 0.7152 * scene[1] + 0.0722 * scene[2]
    log_average = np.exp(np.mean(np.log(luminance + 1e-4)))
    return (scene * (LOG_AVERAGE * 2 ** rng.normal(0, 0.2) / log_average)).astype(np.float32)


def _background(rng: np.random.Generator, size: int) -> Array:
    """A vertical gradient between two colours: a sky, a wall, a horizon."""
    ramp = np.linspace(0, 1, size, dtype=np.float32) ** rng.uniform(0.5, 2)
    top, bottom = _colour(rng), _colour(rng)
    column = top[:, None] * (1 - ramp) + bottom[:, None] * ramp
    return np.repeat(column[:, :, None], size, axis=2) * np.float32(rng.uniform(0.6, 2.5))


def _paint_leaf(rng: np.random.Generator, scene: Array) -> None:
    """Paint one shape over ``scene``: an ellipse, a box or a half plane cut, shaded and textured."""
    size = scene.shape[1]
    radius = min(
        size / 2, 3.0 * (1 - rng.uniform()) ** -0.7 * size / 128
    )  # a power law: few large, many small
    aspect, angle = rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
    centre_y, centre_x = rng.uniform(0, size, 2)
    top, left = (max(0, int(c - radius - 1)) for c in (centre_y, centre_x))
    bottom, right = (min(size, int(c + radius + 2)) for c in (centre_y, centre_x))
    if top >= bottom or left >= right:
        return
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    u = ((x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)) / radius
    v = ((y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)) / (radius * aspect)
    inside = u**2 + v**2 if rng.uniform() < 0.5 else np.maximum(np.abs(u), np.abs(v)) * 1.4
    alpha = np.clip((1 - inside) * radius / 2 + 0.5, 0, 1)
    shade = np.exp(rng.normal(0, 0.35) * u + rng.normal(0, 0.35) * v)
    texture = np.exp(rng.uniform(0, 0.25) * rng.standard_normal(u.shape))
    colour = _colour(rng)[:, None, None] * (shade * texture)
    patch = scene[:, top:bottom, left:right]
    patch += alpha * (colour.astype(np.float32) - patch)


def _colour(rng: np.random.Generator) -> Array:
    """A surface colour in linear light: any hue, mostly of low saturation, reflectance 0.03 to 0.9."""
    saturation = rng.beta(1.3, 2.5)
    reflectance = np.exp(rng.uniform(np.log(0.03), np.log(0.9)))
    rgb = np.array(colorsys.hsv_to_rgb(rng.uniform(), saturation, 1.0), dtype=np.float32)
    return (rgb * reflectance).astype(np.float32)


def _smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Noise of unit variance on a ``cells`` x ``cells`` grid, interpolated smoothly to (size, size)."""
    grid = torch.from_numpy(rng.standard_normal((1, 1, cells, cells)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(grid, (size, size), mode="bicubic", align_corners=True)
    return smooth[0, 0].numpy()
