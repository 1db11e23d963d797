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
        # apart, for a parameter of four dimensions would be laid out as images are
        self.weight_real, self.weight_imag = (
            nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-bound, bound)) for _ in range(2)
        )
        self.bias_real, self.bias_imag = (
            nn.Parameter(torch.empty(count, 1, outputs).uniform_(-bound, bound)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Complex (B, n, inputs) to complex (B, n, outputs)."""
        weight = torch.complex(self.weight_real, self.weight_imag)
        bias = torch.complex(self.bias_real, self.bias_imag)
        return torch.baddbmm(bias, x.transpose(0, 1), weight).transpose(0, 1)


class ModReLU(nn.Module):
    """z to ReLU(|z| + b) z / |z| (Arjovsky et al., ICML 2016): amplitudes are thresholded, phases kept.

    Args:
        count: n rows.
        width: length of each.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        # at 0 it would begin as the identity, and a network of it as a linear one
        self.threshold = nn.Parameter(torch.full((count, width), -0.1))

    def forward(self, z: Tensor) -> Tensor:
        """Complex (B, n, width) to the same."""
        amplitude = z.abs()
        return z * ((amplitude + self.threshold).relu() / amplitude.clamp(min=1e-6))
