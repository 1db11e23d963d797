"""Eq. (1): exact, orthonormal, with a discrete Fourier transform written out as the judge."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from torch import Tensor

from relit.clip_restorex.frequency import from_frequency, from_packed, to_frequency, to_packed

LENGTHS = [1, 2, 3, 8, 9, 256]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def matrix_of_packing(length: int) -> Tensor:
    """Row i is what the packed transform makes of the i-th unit vector."""
    return to_packed(torch.eye(length, dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_eq_1_is_the_discrete_fourier_transform(length: int) -> None:
    prior = drawn(length)
    by_hand = [
        sum(p * cmath.exp(-2j * cmath.pi * k * place / length) for place, p in enumerate(prior.tolist()))
        / math.sqrt(length)
        for k in range(length // 2 + 1)
    ]
    torch.testing.assert_close(to_frequency(prior), torch.tensor(by_hand, dtype=torch.complex128))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("length", LENGTHS)
def test_a_prior_comes_back_exactly(length: int, dtype: torch.dtype) -> None:
    prior = drawn(2, 4, length, dtype=dtype)
    coefficients, packed = to_frequency(prior), to_packed(prior)
    assert coefficients.shape == (2, 4, length // 2 + 1)
    assert packed.shape == prior.shape
    for back in (from_frequency(coefficients, length), from_packed(packed)):
        torch.testing.assert_close(back, prior, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_first_coefficient_and_for_even_lengths_the_last_are_real(length: int) -> None:
    imaginary = to_frequency(drawn(5, length)).imag
    real_ones = {0, length // 2} if length % 2 == 0 else {0}
    for k in range(length // 2 + 1):
        assert (imaginary[:, k].abs().max() < 1e-14) == (k in real_ones)


@pytest.mark.parametrize("length", [8, 9])
def test_imaginary_parts_that_no_real_prior_has_are_dropped(length: int) -> None:
    prior = drawn(3, length)
    coefficients = to_frequency(prior)
    coefficients[:, 0] += 2j
    if length % 2 == 0:
        coefficients[:, -1] -= 3j
    torch.testing.assert_close(from_frequency(coefficients, length), prior)


@pytest.mark.parametrize("length", LENGTHS)
def test_energy_is_kept(length: int) -> None:
    """Parseval: coefficients whose conjugate is left out count twice."""
    prior = drawn(6, length)
    counts = torch.full((length // 2 + 1,), 2.0, dtype=torch.float64)
    counts[0] = 1
    if length % 2 == 0:
        counts[-1] = 1
    energy = prior.square().sum(-1)
    torch.testing.assert_close((counts * to_frequency(prior).abs().square()).sum(-1), energy)
    torch.testing.assert_close(to_packed(prior).square().sum(-1), energy)


@pytest.mark.parametrize("length", LENGTHS)
def test_packing_is_an_orthogonal_matrix(length: int) -> None:
    transform = matrix_of_packing(length)
    identity = torch.eye(length, dtype=torch.float64)
    torch.testing.assert_close(transform @ transform.T, identity, atol=1e-13, rtol=0)
    torch.testing.assert_close(from_packed(identity), transform.T, atol=1e-13, rtol=0)
    prior = drawn(3, length)
    torch.testing.assert_close(to_packed(prior), prior @ transform)


@pytest.mark.parametrize("length", [8, 9])
def test_packed_numbers_are_real_parts_then_imaginary_parts(length: int) -> None:
    prior, stored = drawn(length), (length - 1) // 2
    coefficients, packed = to_frequency(prior), to_packed(prior)
    real, imaginary = packed.split([length // 2 + 1, stored])
    torch.testing.assert_close(real[0], coefficients.real[0])
    if length % 2 == 0:
        torch.testing.assert_close(real[-1], coefficients.real[-1])
    inner = slice(1, 1 + stored)
    torch.testing.assert_close(real[inner], math.sqrt(2) * coefficients.real[inner])
    torch.testing.assert_close(imaginary, math.sqrt(2) * coefficients.imag[inner])


def test_noise_of_unit_variance_stays_that() -> None:
    noise = drawn(20000, 16)
    packed = to_packed(noise)
    covariance = packed.T @ packed / len(packed)
    torch.testing.assert_close(covariance, torch.eye(16, dtype=torch.float64), atol=0.05, rtol=0)
    power = to_frequency(noise).abs().square().mean(0)
    torch.testing.assert_close(power, torch.ones(9, dtype=torch.float64), atol=0.05, rtol=0)


def test_half_precision_is_transformed_in_float32() -> None:
    prior = drawn(2, 8).bfloat16()
    assert to_frequency(prior).dtype == torch.complex64
    torch.testing.assert_close(to_packed(prior), to_packed(prior.float()))


def test_gradients_pass_both_ways() -> None:
    prior = drawn(2, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: from_frequency(to_frequency(p).square(), 7), (prior,))
    assert torch.autograd.gradcheck(lambda p: from_packed(to_packed(p).square()), (prior,))
