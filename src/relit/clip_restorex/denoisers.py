"""Denoising networks: what they see a prior as, and how they answer x_t, the condition c and t.

One small network for each of the n priors; all n run as one product. ``forward`` takes x_t and c in the
network's own coordinates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from relit.clip_restorex.batched_linear import BatchedLinear
from relit.clip_restorex.complex_layers import ComplexLinear, ModReLU
from relit.clip_restorex.frequency import from_frequency, from_packed, to_frequency, to_packed
from relit.errors import ConfigurationError

SLOPE = 0.1
"""Of the leaky ReLUs."""


class Denoiser(nn.Module, ABC):
    """Predicts x_0, or the noise, from x_t, the condition c and the time t / T.

    Args:
        length: D, of the priors.
        count: n, how many priors.
        hidden: width of the inner layers.
        layers: how many inner layers there are.
    """

    def __init__(self, length: int, count: int, hidden: int, layers: int) -> None:
        super().__init__()
        for name, value in (("hidden", hidden), ("layers", layers)):
            if value < 1:
                raise ConfigurationError(
                    f"network.diffusion.denoiser.{name}={value}: expected at least 1; network.diffusion=null "
                    "does without."
                )
        self.length, self.count, self.hidden, self.layers = length, count, hidden, layers

    @abstractmethod
    def coordinates(self, prior: Tensor) -> Tensor:
        """A prior (B, n, D) as the network sees it; orthonormal and linear."""

    @abstractmethod
    def prior(self, coordinates: Tensor) -> Tensor:
        """The inverse of :meth:`coordinates`."""

    @abstractmethod
    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        """The prediction, of the shape of ``x``.

        Args:
            x: x_t in coordinates.
            condition: c in coordinates.
            time: t / T, in (0, 1].
        """


class SpatialDenoiser(Denoiser):
    """The plain diffusion model of the ablation (DM): an MLP on the priors as they are."""

    def __init__(self, length: int, count: int, hidden: int, layers: int) -> None:
        super().__init__(length, count, hidden, layers)
        self.mlp = _mlp(count, 2 * length + 1, hidden, layers, length)

    def coordinates(self, prior: Tensor) -> Tensor:
        return prior

    def prior(self, coordinates: Tensor) -> Tensor:
        return coordinates

    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        return cast("Tensor", self.mlp(torch.cat([x, condition, _constant(x, time)], dim=-1)))


class DenseFrequencyDenoiser(SpatialDenoiser):
    """The same MLP on real and imaginary parts, a control.

    Its first and last layer can absorb the transform, so it can do what the spatial one can and no more.
    """

    def coordinates(self, prior: Tensor) -> Tensor:
        return to_packed(prior)

    def prior(self, coordinates: Tensor) -> Tensor:
        return from_packed(coordinates)


class ComplexDenoiser(Denoiser):
    """FFEDM, complex-valued: linear layers over all frequencies that turn and scale coefficients.

    Its activations look at amplitudes and keep phases.
    """

    def __init__(self, length: int, count: int, hidden: int, layers: int) -> None:
        super().__init__(length, count, hidden, layers)
        bins = length // 2 + 1
        sizes = [2 * bins + 1, *[hidden] * layers]
        inner = [
            part
            for inputs, outputs in pairwise(sizes)
            for part in (ComplexLinear(count, inputs, outputs), ModReLU(count, outputs))
        ]
        self.mlp = nn.Sequential(*inner, ComplexLinear(count, hidden, bins))

    def coordinates(self, prior: Tensor) -> Tensor:
        return to_frequency(prior)

    def prior(self, coordinates: Tensor) -> Tensor:
        return from_frequency(coordinates, self.length)

    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        return cast("Tensor", self.mlp(torch.cat([x, condition, _constant(x, time)], dim=-1)))


class AmplitudePhaseDenoiser(Denoiser):
    """FFEDM in two branches that inform each other: log amplitudes, and phases as unit vectors.

    An amplitude below ``floor`` counts as that, for its logarithm has to end somewhere, and the logarithm of
    a new one ends at ``ceiling``, so that no step overflows.
    """

    floor = 1e-3
    ceiling = 8.0

    def __init__(self, length: int, count: int, hidden: int, layers: int) -> None:
        super().__init__(length, count, hidden, layers)
        bins = length // 2 + 1
        self.amplitude = _mlp(count, 2 * bins + 1, hidden, layers, hidden)
        self.phase = _mlp(count, 4 * bins + 1, hidden, layers, hidden)
        self.amplitude_head = BatchedLinear(count, 2 * hidden, bins)
        self.phase_head = BatchedLinear(count, 2 * hidden, 2 * bins)

    def coordinates(self, prior: Tensor) -> Tensor:
        return to_frequency(prior)

    def prior(self, coordinates: Tensor) -> Tensor:
        return from_frequency(coordinates, self.length)

    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        amplitudes = [part.abs().clamp(min=self.floor) for part in (x, condition)]
        phases = [part / amplitude for part, amplitude in zip((x, condition), amplitudes, strict=True)]
        parts = [half for phase in phases for half in (phase.real, phase.imag)]
        step = _constant(amplitudes[0], time)
        by_amplitude = self.amplitude(torch.cat([*(a.log() for a in amplitudes), step], dim=-1))
        by_phase = self.phase(torch.cat([*parts, step], dim=-1))
        both = nn.functional.leaky_relu(torch.cat([by_amplitude, by_phase], dim=-1), SLOPE)
        amplitude = self.amplitude_head(both).clamp(max=self.ceiling).exp()
        direction = torch.complex(*self.phase_head(both).chunk(2, dim=-1))
        return amplitude * direction / direction.abs().clamp(min=self.floor)


def _mlp(count: int, inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *[hidden] * layers]
    inner = [
        part
        for before, after in pairwise(sizes)
        for part in (BatchedLinear(count, before, after), nn.LeakyReLU(SLOPE))
    ]
    return nn.Sequential(*inner, BatchedLinear(count, hidden, outputs))


def _constant(like: Tensor, value: float) -> Tensor:
    """``value`` beside each row: (B, n, 1)."""
    return torch.full_like(like[..., :1], value)
