"""Exposure faults drawn per photograph: what a good photograph would look like had it been taken badly.

The photograph is taken back to the light of its scene, and a camera takes it again, in this order: exposure
(even, or uneven where light comes from behind), shot and read noise, white balance, highlights compressed
and clipped, sRGB, 8 bits. What a fault is, is a function of a key and a position alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relit.data.synthesis import (
    add_noise,
    expose,
    open_highlights,
    shade_map,
    shoulder,
    smooth_field,
    to_linear,
    to_srgb,
)
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator, keyed_seed

Range = Sequence[float]
"""A lower and an upper bound, between which a number is drawn uniformly."""


@dataclass(frozen=True)
class Fault:
    """One way of taking a photograph.

    Attributes:
        label: ``under``, ``over``, ``backlit`` or ``well_lit``.
        shade_ev: stops from the good exposure where a backlit photograph is in the shade.
        light_ev: the same where it is in the light; equal to ``shade_ev`` in an evenly exposed one.
        red_gain, blue_gain: of a white balance that keeps green.
        headroom: stops between a photograph's 1 and the light that its camera renders white.
        shot: variance of the shot noise at white.
        read: standard deviation of the read noise; white is 1.
        seed: of the noise, and of where the shade lies.
    """

    label: str
    shade_ev: float
    light_ev: float
    red_gain: float
    blue_gain: float
    headroom: float
    shot: float
    read: float
    seed: int


@dataclass(frozen=True)
class ExposureFaults:
    """What may happen to a good photograph; each range is one of (lower, upper).

    Attributes:
        ev: stops of evenly exposed photographs: each entry, a number or a range, is as likely as the others.
        backlit: share of the photographs that are lit from behind, in [0, 1]; the others are exposed evenly.
        shade_ev: range of stops in the shade of a backlit photograph.
        light_ev: range of stops in its light; never below ``shade_ev``.
        white_balance: stops by which red and blue may each drift up or down.
        headroom: range of stops between a photograph's 1 and the light that its camera renders white; at 0
            highlights are clipped without being compressed.
        shot: range of the variance of the shot noise at white.
        read: range of the standard deviation of the read noise; white is 1.

    Raises: :class:`ConfigurationError` for a value that is none of these, with its key below ``data.faults``.
    """

    ev: Sequence[float | Range]
    backlit: float
    shade_ev: Range
    light_ev: Range
    white_balance: float
    headroom: Range
    shot: Range
    read: Range

    def __post_init__(self) -> None:
        if not isinstance(self.ev, Sequence) or not self.ev:
            raise _wrong("ev", "a list of stops or of ranges [lower, upper]", self.ev)
        for entry in self.ev:
            _check_range("ev", _as_range(entry))
        _check_range("backlit", (self.backlit, self.backlit), 0, 1)
        _check_range("white_balance", (self.white_balance, self.white_balance), 0)
        for key in ("shade_ev", "light_ev"):
            _check_range(key, getattr(self, key))
        for key in ("headroom", "shot", "read"):
            _check_range(key, getattr(self, key), 0)
        if self.light_ev[0] < self.shade_ev[1]:
            raise _wrong("light_ev", f"no less than in the shade ({self.shade_ev[1]})", self.light_ev)

    def draw(self, position: int, *key: int | str) -> Fault:
        """The fault at ``position``, at least 0, of the sequence that ``key`` names."""
        generator = keyed_generator(*key, "fault", position)
        # All numbers are drawn always, so that a setting changes nothing but what it sets.
        kind, entry, first, second, red, blue, headroom, shot, read = torch.rand(
            9, generator=generator, dtype=torch.float64
        ).tolist()
        if kind < self.backlit:
            label = "backlit"
            shade_ev, light_ev = _between(self.shade_ev, first), _between(self.light_ev, second)
        else:
            shade_ev = light_ev = _between(_as_range(self.ev[int(entry * len(self.ev))]), first)
            label = "under" if shade_ev < 0 else "over" if shade_ev > 0 else "well_lit"
        drift = (-self.white_balance, self.white_balance)
        return Fault(
            label=label,
            shade_ev=shade_ev,
            light_ev=light_ev,
            red_gain=2 ** _between(drift, red),
            blue_gain=2 ** _between(drift, blue),
            headroom=_between(self.headroom, headroom),
            shot=_between(self.shot, shot),
            read=_between(self.read, read),
            seed=keyed_seed(*key, "fault", position),
        )


def take_badly(photos: Tensor, faults: Sequence[Fault]) -> Tensor:
    """Each photograph as its fault has it; a photograph's result does not depend on the others'.

    Args:
        photos: good ones, uint8 sRGB, shape (B, 3, H, W), on any device, where the pixels are worked on.
        faults: one for each.

    Returns: uint8 sRGB, shape (B, 3, H, W).
    """
    if photos.dtype != torch.uint8 or len(photos) != len(faults):
        raise ValueError(f"expected {len(faults)} photos in uint8, got {len(photos)} in {photos.dtype}")
    headroom, shot, read = (
        _column(photos, [getattr(fault, name) for fault in faults]) for name in ("headroom", "shot", "read")
    )
    gains = torch.tensor([(fault.red_gain, 1.0, fault.blue_gain) for fault in faults], device=photos.device)
    srgb = photos / 255
    scene = expose(open_highlights(to_linear(srgb), headroom), _exposure(srgb, faults))
    raw = add_noise(scene, _noise(photos, faults), shot, read)
    rendered = shoulder(raw * gains[:, :, None, None], headroom)
    return (to_srgb(rendered) * 255).round().to(torch.uint8)


def _exposure(srgb: Tensor, faults: Sequence[Fault]) -> Tensor:
    """Stops, (B, 1, H, W)."""
    shade_ev = _column(srgb, [fault.shade_ev for fault in faults])
    light_ev = _column(srgb, [fault.light_ev for fault in faults])
    size = (srgb.shape[2], srgb.shape[3])
    # two cells: the light falls from a side; more would leave spots in a clear sky
    fields = [smooth_field(keyed_generator(fault.seed, "shade"), 1, size, cells=2) for fault in faults]
    return light_ev + (shade_ev - light_ev) * shade_map(srgb, torch.cat(fields).to(srgb))


def _noise(photos: Tensor, faults: Sequence[Fault]) -> Tensor:
    """Standard normal numbers of the shape of ``photos``, each photo's from a generator on its device."""
    device = photos.device
    generators = [torch.Generator(device).manual_seed(keyed_seed(fault.seed, "noise")) for fault in faults]
    return torch.stack(
        [torch.randn(photos.shape[1:], generator=generator, device=device) for generator in generators]
    )


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None, None, None]


def _between(bounds: Range, u: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * u


def _as_range(value: float | Range) -> Range:
    return (value, value) if isinstance(value, int | float) else value


def _check_range(key: str, bounds: Range, least: float = -math.inf, most: float = math.inf) -> None:
    if not isinstance(bounds, Sequence) or len(bounds) != 2:
        raise _wrong(key, "a range [lower, upper]", bounds)
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise _wrong(key, "a number", bound)
        if not least <= bound <= most:
            at_most = f" and at most {most}" if most < math.inf else ""
            raise _wrong(key, f"at least {least}{at_most}", bound)
    if bounds[0] > bounds[1]:
        raise _wrong(key, "the lower bound first", list(bounds))


def _wrong(key: str, expected: str, found: object) -> ConfigurationError:
    return ConfigurationError(f"data.faults.{key}: expected {expected}, found {found}.")
