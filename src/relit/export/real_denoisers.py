"""The denoisers of CLIP-RestoreX in real arithmetic: the same functions for formats without complex numbers.

Complex (B, n, K) are written as real (B, n, 2K): real parts, then imaginary parts. The way to a denoiser's
coordinates and back is linear and of fixed length, so each becomes a matrix.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relit.clip_restorex.batched_linear import BatchedLinear
from relit.clip_restorex.complex_layers import ComplexLinear, ModReLU
from relit.clip_restorex.denoisers import (
    SLOPE,
    AmplitudePhaseDenoiser,
    ComplexDenoiser,
    Denoiser,
    DenseFrequencyDenoiser,
)


def in_real_numbers(denoiser: Denoiser) -> Denoiser:
    """The same function without complex numbers; ``denoiser`` itself where it has none."""
    for kind, real in _REAL.items():
        if isinstance(denoiser, kind):
            return real(denoiser)
    return denoiser


class RealDenoiser(Denoiser):
    """A denoiser whose coordinates are real numbers, made by a matrix.

    Args:
        denoiser: whose coordinates they are; left as it is.
    """

    into: Tensor
    back: Tensor

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser.length, denoiser.count, denoiser.hidden, denoiser.layers)
        coordinates = denoiser.coordinates(torch.eye(denoiser.length))
        each = torch.eye(coordinates.shape[-1])
        if coordinates.is_complex():
            coordinates, each = _side_by_side(coordinates), torch.cat([each + 0j, each * 1j])
        self.register_buffer("into", coordinates)
        self.register_buffer("back", denoiser.prior(each))

    def coordinates(self, prior: Tensor) -> Tensor:
        return prior @ self.into

    def prior(self, coordinates: Tensor) -> Tensor:
        return coordinates @ self.back


class RealDense(RealDenoiser):
    """:class:`DenseFrequencyDenoiser`, whose network is real already."""

    def __init__(self, denoiser: DenseFrequencyDenoiser) -> None:
        super().__init__(denoiser)
        self.network = denoiser

    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        return cast("Tensor", self.network(x, condition, time))


class RealComplex(RealDenoiser):
    """:class:`ComplexDenoiser`."""

    def __init__(self, denoiser: ComplexDenoiser) -> None:
        super().__init__(denoiser)
        self.mlp = nn.Sequential(*(_real_layer(layer) for layer in denoiser.mlp))

    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        (x_re, x_im), (c_re, c_im) = x.chunk(2, dim=-1), condition.chunk(2, dim=-1)
        step = torch.full_like(x[..., :1], time)
        return cast("Tensor", self.mlp(torch.cat([x_re, c_re, step, x_im, c_im, 0 * step], dim=-1)))


class RealModReLU(nn.Module):
    """:class:`ModReLU` of real and imaginary parts side by side.

    Args:
        layer: the same in complex numbers; its parameter is shared.
    """

    def __init__(self, layer: ModReLU) -> None:
        super().__init__()
        self.threshold = layer.threshold

    def forward(self, z: Tensor) -> Tensor:
        """(B, n, 2 width) to the same."""
        amplitude = _amplitude(*z.chunk(2, dim=-1))
        factor = (amplitude + self.threshold).relu() / amplitude.clamp(min=1e-6)
        return z * torch.cat([factor, factor], dim=-1)


class RealAmplitudePhase(RealDenoiser):
    """:class:`AmplitudePhaseDenoiser`, whose networks are real already."""

    def __init__(self, denoiser: AmplitudePhaseDenoiser) -> None:
        super().__init__(denoiser)
        self.networks = denoiser

    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        networks = self.networks
        amplitudes, phases = [], []
        for halves in (x.chunk(2, dim=-1), condition.chunk(2, dim=-1)):
            amplitude = _amplitude(*halves).clamp(min=networks.floor)
            amplitudes.append(amplitude.log())
            phases += [half / amplitude for half in halves]
        step = torch.full_like(x[..., :1], time)
        by_amplitude = networks.amplitude(torch.cat([*amplitudes, step], dim=-1))
        by_phase = networks.phase(torch.cat([*phases, step], dim=-1))
        both = F.leaky_relu(torch.cat([by_amplitude, by_phase], dim=-1), SLOPE)
        direction = networks.phase_head(both)
        length = _amplitude(*direction.chunk(2, dim=-1)).clamp(min=networks.floor)
        amplitude = networks.amplitude_head(both).clamp(max=networks.ceiling).exp()
        return cast("Tensor", direction * torch.cat(2 * [amplitude / length], dim=-1))


def _real_layer(layer: nn.Module) -> nn.Module:
    return _real_linear(layer) if isinstance(layer, ComplexLinear) else RealModReLU(cast("ModReLU", layer))


def _side_by_side(z: Tensor) -> Tensor:
    return torch.cat([z.real, z.imag], dim=-1)


def _amplitude(real: Tensor, imaginary: Tensor) -> Tensor:
    return (real.square() + imaginary.square()).sqrt()


@torch.no_grad()
def _real_linear(layer: ComplexLinear) -> BatchedLinear:
    """(x_re + i x_im) (W_re + i W_im) + b as one real product."""
    count, inputs, outputs = layer.weight_real.shape
    real = BatchedLinear(count, 2 * inputs, 2 * outputs)
    of_real = torch.cat([layer.weight_real, layer.weight_imag], dim=-1)
    of_imaginary = torch.cat([-layer.weight_imag, layer.weight_real], dim=-1)
    real.weight.copy_(torch.cat([of_real, of_imaginary], dim=1))
    real.bias.copy_(torch.cat([layer.bias_real, layer.bias_imag], dim=-1))
    return real


_REAL = {
    ComplexDenoiser: RealComplex,
    AmplitudePhaseDenoiser: RealAmplitudePhase,
    DenseFrequencyDenoiser: RealDense,
}
