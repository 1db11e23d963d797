"""A camera that takes the pictures the embedded CLIP learns from.

Scenes in linear light go in; out come 8-bit pictures whose exposure, light, contrast, colour and sharpness
are known, because the camera set them. Every number is a function of (seed, position).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from relit.data.synthesis import expose, quantise, sensor, smooth_field, to_srgb
from relit.keyed import keyed_generator

EXPOSURE_EV = ((-4.5, -3.0), (-3.0, -1.5), (-1.5, -0.6), (-0.35, 0.35), (0.6, 1.1), (1.1, 2.0), (2.0, 3.5))
"""Stops from correct exposure, per class of the exposure axis."""
LUMA = torch.tensor([0.2126, 0.7152, 0.0722])


class Camera:
    """Takes pictures of ``size`` x ``size`` pixels of a pool of scenes.

    Args:
        scenes: linear light (N, 3, S, S), S >= size.
        size: side of the pictures.
        seed: the run's seed.
    """

    def __init__(self, scenes: Tensor, size: int, seed: int) -> None:
        self.scenes, self.size, self.seed = scenes, size, seed

    def __call__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """Pictures at ``positions``: sRGB (B, 3, size, size) in [0, 1]; and classes, int64 (B, A)."""
        generators = [keyed_generator(self.seed, "camera", position) for position in positions]
        linear = torch.stack([self._scene(generator) for generator in generators])
        classes = torch.stack([_draw_classes(generator) for generator in generators])
        amounts = torch.stack([torch.rand(8, generator=generator) for generator in generators])
        maps = torch.cat([smooth_field(generator, 1, (self.size, self.size)) for generator in generators])
        noise = torch.stack([torch.randn(linear.shape[1:], generator=generator) for generator in generators])
        return _develop(linear, classes, amounts, maps, noise), classes

    def _scene(self, generator: torch.Generator) -> Tensor:
        """A crop of a scene, flipped, turned and its colour channels shuffled: many scenes out of few."""
        scene = self.scenes[int(torch.randint(len(self.scenes), (), generator=generator))]
        top, left = torch.randint(scene.shape[-1] - self.size + 1, (2,), generator=generator).tolist()
        crop = scene[:, top : top + self.size, left : left + self.size].float()
        turn = int(torch.randint(8, (), generator=generator))
        crop = (
            torch.rot90(crop, turn % 4, (1, 2)).flip(2) if turn >= 4 else torch.rot90(crop, turn % 4, (1, 2))
        )
        shuffle = torch.rand((), generator=generator) < 0.5
        return crop[torch.randperm(3, generator=generator)] if shuffle else crop


def _draw_classes(generator: torch.Generator) -> Tensor:
    """One class per axis, in their order; of the last three, the ordinary classes are the commonest."""

    def pick(weights: list[float]) -> Tensor:
        return torch.multinomial(torch.tensor(weights, dtype=torch.float), 1, generator=generator)[0]

    light = pick([0.75, 0.25])
    exposure = pick([1, 2, 2, 3, 1.5, 1.5, 1]) if light == 0 else pick([0, 2, 2, 1, 0, 0, 0])
    return torch.stack([exposure, light, pick([1, 4, 1]), pick([1, 4, 1, 0.7, 1]), pick([5, 1, 1])])


def _develop(linear: Tensor, classes: Tensor, amounts: Tensor, maps: Tensor, noise: Tensor) -> Tensor:
    exposure, light, contrast, colour, sharpness = classes.unbind(1)
    linear = _colour(linear, colour, amounts[:, 0:3])
    linear = expose(linear, _exposure_values(linear, exposure, light, amounts[:, 3:5], maps))
    linear = _where(sharpness == 1, _blur(linear), linear)
    strength = _column(torch.where(sharpness == 2, 6 + 10 * amounts[:, 5], 2 * amounts[:, 5]))
    image = to_srgb(sensor(linear, noise * strength))
    return quantise(_tone(image, contrast, amounts[:, 6:8]))


def _exposure_values(
    linear: Tensor, exposure: Tensor, light: Tensor, amounts: Tensor, maps: Tensor
) -> Tensor:
    """Stops per pixel, (B, 1, H, W): even light is one value, backlight spreads around it."""
    low, high = torch.tensor(EXPOSURE_EV)[exposure].unbind(1)
    mean = _column(low + (high - low) * amounts[:, 0])
    luminance = F.adaptive_avg_pool2d((linear * LUMA[None, :, None, None]).sum(1, keepdim=True), 8)
    coarse = F.interpolate(luminance.clamp(0, 1), linear.shape[-2:], mode="bicubic", align_corners=False)
    spread = torch.tanh(1.5 * (maps - 3 * (coarse - coarse.mean((2, 3), keepdim=True))))
    spread = spread - spread.mean((2, 3), keepdim=True)
    return mean - _column(light * (0.8 + 0.8 * amounts[:, 1])) * spread


def _colour(linear: Tensor, colour: Tensor, amounts: Tensor) -> Tensor:
    """White balance and saturation: warm, neutral, cold, grey, vivid."""
    drift = torch.tensor([0.45, 0.0, -0.45, 0.0, 0.0])[colour] * (0.6 + 0.8 * amounts[:, 0]) + 0.1 * (
        amounts[:, 1] - 0.5
    )
    gains = torch.exp(torch.stack([drift, torch.zeros_like(drift), -drift], 1))
    gains = gains / (gains * LUMA).sum(1, keepdim=True)
    saturation = (
        torch.tensor([0.9, 0.8, 0.9, 0.0, 1.5])[colour]
        + torch.tensor([0.3, 0.4, 0.3, 0.08, 0.5])[colour] * amounts[:, 2]
    )
    grey = (linear * LUMA[None, :, None, None]).sum(1, keepdim=True)
    return ((grey + _column(saturation) * (linear - grey)) * gains[:, :, None, None]).clamp(min=0)


def _tone(image: Tensor, contrast: Tensor, amounts: Tensor) -> Tensor:
    """A tone curve in sRGB: contrast about the mean, and a gamma near 1, by which cameras differ."""
    gain = _column(
        torch.tensor([0.5, 0.9, 1.35])[contrast] + torch.tensor([0.2, 0.2, 0.5])[contrast] * amounts[:, 0]
    )
    mean = image.mean((1, 2, 3), keepdim=True)
    return (mean + gain * (image - mean)).clamp(1e-6, 1) ** _column(torch.exp(0.3 * (amounts[:, 1] - 0.5)))


def _blur(linear: Tensor) -> Tensor:
    """A wide soft blur: down to a sixth and back."""
    return F.interpolate(
        F.avg_pool2d(linear, 6, ceil_mode=True), linear.shape[-2:], mode="bilinear", align_corners=False
    )


def _column(values: Tensor) -> Tensor:
    return values.float()[:, None, None, None]


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(condition[:, None, None, None], yes, no)
