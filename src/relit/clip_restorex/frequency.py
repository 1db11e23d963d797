"""CLIP-RestoreX Eq. (1): priors in the frequency domain and back, exactly.

The transform is orthonormal, so noise of unit variance stays that, and it runs in float32 at least. A real
prior of length D has D // 2 + 1 coefficients; the first one, and for even D the last, carry no imaginary
part.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from relit.clip_restorex.precision import at_least_float32


def to_frequency(prior: Tensor) -> Tensor:
    """P^f = FFT(P) of CLIP-RestoreX Eq. (1): real (..., D) to complex (..., D // 2 + 1)."""
    return torch.fft.rfft(at_least_float32(prior), norm="ortho")


def from_frequency(coefficients: Tensor, length: int) -> Tensor:
    """P' = IFFT(P^f') of CLIP-RestoreX Eq. (1): complex (..., D // 2 + 1) to real (..., D) of D = ``length``.

    Imaginary parts that a real prior can't have are dropped.
    """
    return torch.fft.irfft(coefficients, n=length, norm="ortho")


def to_packed(prior: Tensor) -> Tensor:
    """The coefficients of real (..., D) as D real numbers: real parts, then the imaginary parts that exist.

    Those that stand for two coefficients of the whole spectrum are scaled by sqrt(2): an orthonormal change
    of coordinates.
    """
    coefficients = to_frequency(prior)
    twice = _twice(prior.shape[-1], coefficients)
    imaginary = (coefficients.imag * twice)[..., 1 : 1 + (prior.shape[-1] - 1) // 2]
    return torch.cat([coefficients.real * twice, imaginary], dim=-1)


def from_packed(packed: Tensor) -> Tensor:
    """The inverse of :func:`to_packed`."""
    length = packed.shape[-1]
    real, stored = packed.split([length // 2 + 1, (length - 1) // 2], dim=-1)
    imaginary = torch.zeros_like(real)
    imaginary[..., 1 : 1 + stored.shape[-1]] = stored
    twice = _twice(length, real)
    return from_frequency(torch.complex(real / twice, imaginary / twice), length)


def _twice(length: int, like: Tensor) -> Tensor:
    """sqrt(2) for coefficients whose conjugate is left out, else 1: (D // 2 + 1,)."""
    factors = torch.full((length // 2 + 1,), math.sqrt(2), device=like.device, dtype=like.real.dtype)
    factors[0] = 1
    if length % 2 == 0:
        factors[-1] = 1
    return factors
