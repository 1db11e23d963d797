"""CLIP-LIT's augmentation: one affine map per image, drawn from a key, applied to a batch on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from relit.errors import ConfigurationError
from relit.keyed import keyed_generator


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of the released CLIP-LIT: flips along either axis, transpose, zoom, rotation.

    The release warps twice (zoom, then rotation), rounds to 8 bits between and turns about a point up to one
    pixel off the centre. Here both are one map about the exact centre with one bilinear interpolation; beyond
    its border the photograph is mirrored (edge pixel repeated, OpenCV's ``BORDER_REFLECT``), as released.

    Attributes:
        zoom: range of the magnification, drawn for each axis independently; 0.7-1.3 for the enhancer, 0.5-1.5
            for prompts.
        flip: probability of each of the two flips.
        transpose: probability of exchanging rows and columns.
        zoom_p: probability of a zoom.
        rotate_p: probability of a rotation.
        max_angle: the rotation is uniform in [-max_angle, max_angle] degrees.
    """

    zoom: Sequence[float] = (0.7, 1.3)
    flip: float = 0.5
    transpose: float = 0.5
    zoom_p: float = 0.3
    rotate_p: float = 0.3
    max_angle: float = 90.0

    def __post_init__(self) -> None:
        for name in ("flip", "transpose", "zoom_p", "rotate_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(
                    f"augmentation.{name} is a probability in [0, 1], not {getattr(self, name)}: correct it"
                )
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise ConfigurationError(
                f"augmentation.zoom is [low, high] with 0 < low <= high, not {self.zoom}: correct it"
            )

    def draw(self, generator: torch.Generator) -> Tensor:
        """One random map, shape (2, 3), see :func:`affine_map`; takes eight numbers from ``generator``."""
        u = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        low, high = self.zoom
        zoomed = u[3] < self.zoom_p
        return affine_map(
            flip_x=u[0] < self.flip,
            flip_y=u[1] < self.flip,
            transpose=u[2] < self.transpose,
            zoom_x=low + (high - low) * u[5] if zoomed else 1.0,
            zoom_y=low + (high - low) * u[6] if zoomed else 1.0,
            angle=self.max_angle * (2 * u[7] - 1) if u[4] < self.rotate_p else 0.0,
        )

    def matrices(self, positions: Tensor | Sequence[int], *key: int | str) -> Tensor:
        """One map per position, float32 on the CPU, shape (B, 2, 3); map p is a function of (key, p) alone.

        Args:
            positions: B integers, shape (B,).
            key: what the draws depend on besides the position, such as the stage's seed.
        """
        numbers = positions.tolist() if isinstance(positions, Tensor) else list(positions)
        return torch.stack([self.draw(keyed_generator(*key, "augmentation", int(p))) for p in numbers])

    def apply(self, images: Tensor, theta: Tensor) -> Tensor:
        """:func:`apply_maps`."""
        return apply_maps(images, theta)


def affine_map(
    flip_x: bool = False,
    flip_y: bool = False,
    transpose: bool = False,
    zoom_x: float = 1.0,
    zoom_y: float = 1.0,
    angle: float = 0.0,
) -> Tensor:
    """The map that flips, then transposes, then magnifies, then rotates about the centre.

    As ``torch.nn.functional.affine_grid`` wants it: from output to input coordinates, x to the right and y
    down in [-1, 1].

    Args:
        angle: degrees, positive is counter-clockwise.

    Returns: float32, shape (2, 3).
    """
    turn = math.radians(angle)
    flipped = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
    transposed = np.eye(2)[::-1] if transpose else np.eye(2)
    zoomed = np.diag([1 / zoom_x, 1 / zoom_y])
    rotated = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    # From output to input, so the last step is undone first.
    linear = flipped @ transposed @ zoomed @ rotated
    return torch.from_numpy(np.hstack([linear, np.zeros((2, 1))])).float()


def apply_maps(images: Tensor, theta: Tensor) -> Tensor:
    """Resample each image by its map, bilinear, with mirrored borders.

    Flips and transposes (and no map at all) move pixels exactly; only the other maps interpolate.

    Args:
        images: float, shape (B, C, S, S).
        theta: shape (B, 2, 3), see :func:`affine_map`; best left on the CPU, where it is inspected.

    Returns: shape (B, C, S, S).
    """
    if images.shape[-1] != images.shape[-2] or theta.shape != (len(images), 2, 3):
        raise ValueError(
            "images must be square, (B, C, S, S), and maps (B, 2, 3), "
            f"got {tuple(images.shape)} and {tuple(theta.shape)}"
        )
    result = torch.empty_like(images)
    interpolated = []
    for i, one in enumerate(theta.tolist()):
        if _is_symmetry(one):
            result[i] = _move(images[i], one)
        else:
            interpolated.append(i)
    if interpolated:
        # autocast would round the grid to bfloat16: more than a pixel at 512
        with torch.autocast(images.device.type, enabled=False):
            maps = theta[interpolated].to(images.device, images.dtype)
            grid = functional.affine_grid(maps, [len(interpolated), *images.shape[1:]], align_corners=False)
            result[interpolated] = functional.grid_sample(
                images[interpolated], grid, mode="bilinear", padding_mode="reflection", align_corners=False
            )
    return result


def _is_symmetry(theta: list[list[float]]) -> bool:
    """Whether a map is one of the square's eight symmetries, which need no interpolation."""
    (a, b, tx), (c, d, ty) = theta
    return (tx, ty) == (0, 0) and {abs(a), abs(b)} == {0, 1} and (abs(c), abs(d)) == (abs(b), abs(a))


def _move(image: Tensor, theta: list[list[float]]) -> Tensor:
    """Apply a symmetry to an image of shape (C, S, S)."""
    (a, b, _), (c, d, _) = theta
    flips = [dim for dim, sign in ((-1, a + b), (-2, c + d)) if sign < 0]
    image = image.flip(flips) if flips else image
    return image if b == 0 else image.transpose(-1, -2)
