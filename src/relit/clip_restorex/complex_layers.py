"""Complex-valued layers, several of one shape as one product."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ComplexLinear(nn.Module):
    """``count`` complex linear layers: row i of the input goes through layer i.

    Weights are kept as pairs of real numbers, which every optimizer and file format understands.

    Args:
        count: n, how many.
        inputs: length of what each takes.
        outputs: length of what each gives.
    """

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        # real and imaginary part share the variance of a real layer
        bound = 1 / math.sqrt(2 * inputs)
        self.weight = nn.Parameter(torch.empty(2, count, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, count, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Complex (B, n, inputs) to complex (B, n, outputs)."""
        weight, bias = torch.complex(*self.weight), torch.complex(*self.bias)
        return torch.baddbmm(bias, x.transpose(0, 1), weight).transpose(0, 1)


class ModReLU(nn.Module):
    """z to ReLU(|z| + b) z / |z| (Arjovsky et al., ICML 2016): amplitudes are thresholded, phases kept.

    Args:
        count: n rows.
        width: length of each.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(count, width))

    def forward(self, z: Tensor) -> Tensor:
        """Complex (B, n, width) to the same."""
        amplitude = z.abs()
        return z * ((amplitude + self.threshold).relu() / amplitude.clamp(min=1e-6))
