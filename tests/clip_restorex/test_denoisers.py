"""Denoisers by hand, and what the frequency domain changes: nothing for a dense network, phases otherwise."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from relit.clip_restorex.denoisers import (
    AmplitudePhaseDenoiser,
    ComplexDenoiser,
    Denoiser,
    DenseFrequencyDenoiser,
    SpatialDenoiser,
)
from relit.clip_restorex.diffusion import Predicts, PriorDiffusion, ReverseNoise
from relit.clip_restorex.frequency import from_frequency, to_frequency, to_packed

KINDS: list[type[Denoiser]] = [
    SpatialDenoiser,
    DenseFrequencyDenoiser,
    ComplexDenoiser,
    AmplitudePhaseDenoiser,
]
COUNT, HIDDEN = 4, 16


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def built(kind: type[Denoiser], length: int = 8, layers: int = 2) -> Denoiser:
    """With drawn weights, so that no threshold or bias is zero."""
    network = kind(length, COUNT, HIDDEN, layers).double()
    for seed, parameter in enumerate(network.parameters()):
        parameter.data = 0.3 * drawn(*parameter.shape, seed=seed)
    return network


def answer(network: Denoiser, x: Tensor, condition: Tensor, time: float = 0.5) -> Tensor:
    """The prediction for priors (B, n, D), as priors."""
    return network.prior(network(network.coordinates(x), network.coordinates(condition), time))


# --- all of them ---


@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_coordinates_are_linear_and_have_an_inverse(kind: type[Denoiser], length: int) -> None:
    network, one, two = built(kind, length), drawn(2, COUNT, length), drawn(2, COUNT, length, seed=1)
    torch.testing.assert_close(network.prior(network.coordinates(one)), one)
    torch.testing.assert_close(
        network.coordinates(one + 2 * two), network.coordinates(one) + 2 * network.coordinates(two)
    )


@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_has_the_shape_of_what_it_is_for(kind: type[Denoiser], length: int) -> None:
    network = built(kind, length)
    x, condition = (network.coordinates(drawn(3, COUNT, length, seed=seed)) for seed in range(2))
    found = network(x, condition, 0.25)
    assert found.shape == x.shape
    assert found.dtype == x.dtype


@pytest.mark.parametrize("kind", KINDS)
def test_each_prior_has_a_network_of_its_own(kind: type[Denoiser]) -> None:
    network = built(kind)
    x, condition = (drawn(2, COUNT, 8, seed=seed).requires_grad_() for seed in range(2))
    for gradient in torch.autograd.grad(answer(network, x, condition)[:, 2].square().sum(), (x, condition)):
        assert gradient[:, 2].any()
        assert not gradient[:, [0, 1, 3]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_x_condition_and_time_all_matter(kind: type[Denoiser]) -> None:
    network = built(kind)
    x, condition, other = (drawn(2, COUNT, 8, seed=seed) for seed in range(3))
    plain = answer(network, x, condition)
    for changed in (
        answer(network, other, condition),
        answer(network, x, other),
        answer(network, x, condition, time=1.0),
    ):
        assert (changed - plain).abs().amax(dim=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_function(kind: type[Denoiser]) -> None:
    network = built(kind, layers=1)
    x, condition = (drawn(1, COUNT, 8, seed=seed).requires_grad_() for seed in range(2))
    assert torch.autograd.gradcheck(partial(answer, network), (x, condition))


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_trained(kind: type[Denoiser]) -> None:
    network = built(kind)
    answer(network, drawn(4, COUNT, 8), drawn(4, COUNT, 8, seed=1)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


# --- by hand ---


@pytest.mark.parametrize("layers", [1, 3])
def test_the_spatial_denoiser_is_an_mlp_for_each_prior(layers: int) -> None:
    network, time = built(SpatialDenoiser, layers=layers), 0.75
    x, condition = (drawn(2, COUNT, 8, seed=seed) for seed in range(2))
    weights = list(network.parameters())
    assert len(weights) == 2 * (layers + 1)
    for row in range(COUNT):
        h = torch.cat([x[:, row], condition[:, row], torch.full((2, 1), time, dtype=torch.float64)], dim=1)
        for place in range(0, len(weights), 2):
            h = h @ weights[place][row] + weights[place + 1][row]
            if place < 2 * layers:
                h = torch.where(h > 0, h, 0.1 * h)
        torch.testing.assert_close(network(x, condition, time)[:, row], h)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_complex_denoiser_in_real_arithmetic(layers: int) -> None:
    network, time = built(ComplexDenoiser, layers=layers), 0.75
    x, condition = (to_frequency(drawn(2, COUNT, 8, seed=seed)) for seed in range(2))
    linear, thresholds = [], []
    for name, parameter in network.named_parameters():
        (thresholds if name.endswith("threshold") else linear).append(parameter)
    for row in range(COUNT):
        inputs = [x[:, row], condition[:, row], torch.full((2, 1), time, dtype=torch.complex128)]
        real, imaginary = torch.cat(inputs, dim=1).real, torch.cat(inputs, dim=1).imag
        for place, parts in enumerate(zip(*(linear[part::4] for part in range(4)), strict=True)):
            a, b, c, d = (part[row] for part in parts)
            real, imaginary = real @ a - imaginary @ b + c, real @ b + imaginary @ a + d
            if place < layers:
                amplitude = (real.square() + imaginary.square()).sqrt()
                kept = (amplitude + thresholds[place][row]).relu() / amplitude
                real, imaginary = kept * real, kept * imaginary
        torch.testing.assert_close(network(x, condition, time)[:, row], torch.complex(real, imaginary))


def test_the_amplitude_phase_denoiser_in_real_arithmetic() -> None:
    network, time = built(AmplitudePhaseDenoiser, layers=1), 0.75
    x, condition = (to_frequency(drawn(2, COUNT, 8, seed=seed)) for seed in range(2))
    step = torch.full((2, COUNT, 1), time, dtype=torch.float64)
    logs = [z.abs().log() for z in (x, condition)]
    angles = [part for z in (x, condition) for part in (z.angle().cos(), z.angle().sin())]

    def leaky(h: Tensor) -> Tensor:
        return torch.where(h > 0, h, 0.1 * h)

    def dense(layer: nn.Module, h: Tensor) -> Tensor:
        weight, bias = layer.parameters()
        return torch.einsum("bni,nio->bno", h, weight) + bias[:, 0]

    def branch(mlp: nn.Module, inputs: list[Tensor]) -> Tensor:
        first, _, last = mlp.children()
        return dense(last, leaky(dense(first, torch.cat([*inputs, step], dim=-1))))

    both = leaky(torch.cat([branch(network.amplitude, logs), branch(network.phase, angles)], dim=-1))
    length, (re, im) = dense(network.amplitude_head, both).exp(), dense(network.phase_head, both).chunk(2, -1)
    expected = torch.polar(length, torch.atan2(im, re))
    torch.testing.assert_close(network(x, condition, time), expected)


# --- the dense control is the spatial network in other coordinates ---


def folded(spatial: Denoiser) -> Denoiser:
    """A dense frequency denoiser whose first and last layer hold the transform and its inverse.

    Row vectors: packed = prior @ transform, and the transform is orthogonal.
    """
    length, layers = spatial.length, spatial.layers
    transform = to_packed(torch.eye(length, dtype=torch.float64))
    weights = {name: tensor.clone() for name, tensor in spatial.state_dict().items()}
    first, last = "mlp.0", f"mlp.{2 * layers}"
    for start in (0, length):
        rows = slice(start, start + length)
        weights[f"{first}.weight"][:, rows] = transform.T @ weights[f"{first}.weight"][:, rows]
    for name in (f"{last}.weight", f"{last}.bias"):
        weights[name] = weights[name] @ transform
    dense = DenseFrequencyDenoiser(length, COUNT, HIDDEN, layers).double()
    dense.load_state_dict(weights)
    return dense


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("length", [8, 9])
def test_the_dense_frequency_denoiser_is_the_spatial_one(length: int, layers: int) -> None:
    spatial = built(SpatialDenoiser, length, layers)
    dense = folded(spatial)
    for seed, time in enumerate((0.25, 0.5, 0.75, 1.0)):
        x, condition = drawn(3, COUNT, length, seed=seed), drawn(3, COUNT, length, seed=seed + 50)
        torch.testing.assert_close(answer(dense, x, condition, time), answer(spatial, x, condition, time))


@pytest.mark.parametrize("reverse_noise", ["none", "posterior", "printed"])
@pytest.mark.parametrize("predicts", ["prior", "noise"])
def test_so_the_whole_dense_frequency_diffusion_is_the_spatial_one(
    predicts: Predicts, reverse_noise: ReverseNoise
) -> None:
    spatial = built(SpatialDenoiser)
    one, two = (
        PriorDiffusion(lambda network=network, **_: network, 8, COUNT, 4, predicts, reverse_noise)
        for network in (spatial, folded(spatial))
    )
    condition, clean, noise = drawn(2, COUNT, 8), drawn(2, COUNT, 8, seed=1), drawn(2, one.draws, COUNT, 8)
    torch.testing.assert_close(one(condition, noise), two(condition, noise))
    torch.testing.assert_close(one(condition, noise, clean), two(condition, noise, clean))
    for t in range(1, 5):
        errors = [model.denoising_error(clean, condition, noise[:, 0], t) for model in (one, two)]
        torch.testing.assert_close(*errors)


# --- the complex one is not ---


def without_biases_and_time(network: Denoiser) -> Denoiser:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.zero_()
        for name, parameter in network.named_parameters():
            if name.startswith("mlp.0.weight"):
                parameter[..., -1, :] = 0
    return network


def turned(prior: Tensor, angle: float) -> Tensor:
    """All coefficients times one unit phasor; a real prior has no phase to turn at either end."""
    coefficients = to_frequency(prior)
    coefficients[..., [0, -1]] = 0
    return from_frequency(coefficients * complex(torch.tensor(1j * angle).exp()), prior.shape[-1])


@pytest.mark.parametrize("kind", [SpatialDenoiser, DenseFrequencyDenoiser, ComplexDenoiser])
def test_only_the_complex_denoisers_answer_turns_with_its_input(kind: type[Denoiser]) -> None:
    """One phase added to every coefficient comes out again; a LeakyReLU of real numbers can't do that."""
    network = without_biases_and_time(built(kind))
    x, condition = (drawn(3, COUNT, 8, seed=seed) for seed in range(2))
    plain = turned(answer(network, turned(x, 0), turned(condition, 0)), 0.7)
    found = turned(answer(network, turned(x, 0.7), turned(condition, 0.7)), 0)
    if kind is ComplexDenoiser:
        torch.testing.assert_close(found, plain)
    else:
        assert (found - plain).norm() > 0.05 * plain.norm()


# --- amplitude and phase ---


def apart(network: Denoiser) -> Denoiser:
    """The two branches without what they tell each other."""
    with torch.no_grad():
        network.get_parameter("amplitude_head.weight")[:, HIDDEN:] = 0
        network.get_parameter("phase_head.weight")[:, :HIDDEN] = 0
    return network


def test_apart_the_branches_see_amplitudes_or_phases_alone() -> None:
    network = apart(built(AmplitudePhaseDenoiser))
    x, condition = (to_frequency(drawn(3, COUNT, 8, seed=seed)) for seed in range(2))
    plain = network(x, condition, 0.5)
    phases = torch.polar(torch.ones(5, dtype=torch.float64), drawn(5, seed=4))
    torch.testing.assert_close(network(x * phases, condition, 0.5).abs(), plain.abs())
    louder = network(x * drawn(5, seed=5).exp(), condition, 0.5)
    torch.testing.assert_close(louder / louder.abs(), plain / plain.abs())
    assert (louder.abs() - plain.abs()).abs().max() > 1e-2


def test_together_the_branches_inform_each_other() -> None:
    network = built(AmplitudePhaseDenoiser)
    x, condition = (to_frequency(drawn(3, COUNT, 8, seed=seed)) for seed in range(2))
    plain = network(x, condition, 0.5)
    phases = torch.polar(torch.ones(5, dtype=torch.float64), drawn(5, seed=4))
    assert (network(x * phases, condition, 0.5).abs() - plain.abs()).abs().max() > 1e-2
    louder = network(2 * x, condition, 0.5)
    assert (louder / louder.abs() - plain / plain.abs()).abs().max() > 1e-2


def test_how_long_the_phase_heads_vectors_are_does_not_matter() -> None:
    network = built(AmplitudePhaseDenoiser)
    x, condition = (to_frequency(drawn(3, COUNT, 8, seed=seed)) for seed in range(2))
    plain = network(x, condition, 0.5)
    with torch.no_grad():
        for parameter in network.phase_head.parameters():
            parameter *= 5
    torch.testing.assert_close(network(x, condition, 0.5), plain)


def test_amplitudes_end_at_floor_and_ceiling() -> None:
    network = built(AmplitudePhaseDenoiser)
    x, condition = (to_frequency(drawn(3, COUNT, 8, seed=seed)) for seed in range(2))
    silent = torch.zeros_like(x).requires_grad_()
    found = network(silent, condition, 0.5)
    torch.testing.assert_close(network(silent + 1e-12, condition, 0.5), found)
    (gradient,) = torch.autograd.grad(found.abs().sum(), silent)
    assert gradient.isfinite().all()
    nn.init.constant_(network.amplitude_head.bias, 1000.0)
    largest = network(x, condition, 0.5).abs()
    torch.testing.assert_close(largest, torch.full_like(largest, 8.0).exp())
