"""Layers that run several priors as one product, real and complex, against one plain layer for each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from relit.clip_restorex.batched_linear import BatchedLinear
from relit.clip_restorex.complex_layers import ComplexLinear, ModReLU


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def complex_drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.complex(drawn(*shape, seed=seed), drawn(*shape, seed=seed + 100))


def test_batched_linear_is_one_linear_layer_for_each_row() -> None:
    layer, x = BatchedLinear(3, 5, 2).double(), drawn(4, 3, 5)
    for row in range(3):
        plain = nn.Linear(5, 2).double()
        plain.load_state_dict({"weight": layer.weight[row].T, "bias": layer.bias[row, 0]})
        torch.testing.assert_close(layer(x)[:, row], plain(x[:, row]))


def test_rows_do_not_see_each_other() -> None:
    for layer, x in (
        (BatchedLinear(3, 5, 2).double(), drawn(4, 3, 5)),
        (ComplexLinear(3, 5, 2).double(), complex_drawn(4, 3, 5)),
    ):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x)[:, 1].abs().sum(), x)
        assert (gradient[:, 1] != 0).all()
        assert not gradient[:, [0, 2]].any()


def test_batched_linear_begins_as_linear_layers_do() -> None:
    layer = BatchedLinear(4, 100, 200)
    for parameter in layer.parameters():
        assert parameter.abs().max() <= 0.1
        assert parameter.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)


def test_complex_linear_in_pythons_complex_numbers() -> None:
    layer, x = ComplexLinear(2, 3, 4).double(), complex_drawn(2, 2, 3)
    wr, wi = layer.weight_real.tolist(), layer.weight_imag.tolist()
    br, bi = layer.bias_real.tolist(), layer.bias_imag.tolist()
    expected = [
        [
            [
                complex(br[n][0][o], bi[n][0][o])
                + sum(x[b, n, i].item() * complex(wr[n][i][o], wi[n][i][o]) for i in range(3))
                for o in range(4)
            ]
            for n in range(2)
        ]
        for b in range(2)
    ]
    torch.testing.assert_close(layer(x), torch.tensor(expected, dtype=torch.complex128))


def test_a_complex_layer_begins_with_the_variance_of_a_real_one() -> None:
    layer = ComplexLinear(4, 100, 200)
    weight = torch.complex(layer.weight_real, layer.weight_imag)
    assert weight.abs().square().mean().sqrt().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)


def test_complex_weights_are_kept_and_trained_as_real_numbers() -> None:
    layer, x = ComplexLinear(2, 3, 4).double(), complex_drawn(2, 2, 3)
    names = [name for name, _ in layer.named_parameters()]
    parameters = [parameter.detach().requires_grad_() for parameter in layer.parameters()]
    assert not any(parameter.is_complex() for parameter in parameters)

    def energy(*values: Tensor) -> Tensor:
        y = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))
        return y.abs().square().sum()

    assert torch.autograd.gradcheck(energy, tuple(parameters))


def test_channels_last_leaves_the_layout_of_the_weights_alone() -> None:
    """As a parameter of four dimensions they would be strided as an image is, and copied in each product."""
    layer = ComplexLinear(2, 3, 4).to(memory_format=torch.channels_last)
    assert all(parameter.is_contiguous() for parameter in layer.parameters())


def test_modrelu_thresholds_amplitudes_and_keeps_phases() -> None:
    layer, z = ModReLU(2, 6).double(), complex_drawn(5, 2, 6)
    threshold = drawn(2, 6, seed=3)
    layer.load_state_dict({"threshold": threshold})
    found, wanted = layer(z), (z.abs() + threshold).clamp(min=0)
    torch.testing.assert_close(found.abs(), wanted)
    passed = wanted > 0
    assert passed.any()
    assert not passed.all()
    torch.testing.assert_close(found.angle()[passed], z.angle()[passed])


def test_modrelu_begins_as_no_linear_map() -> None:
    layer, z, w = ModReLU(2, 6).double(), complex_drawn(5, 2, 6), complex_drawn(5, 2, 6, seed=7)
    assert (layer(z + w) - layer(z) - layer(w)).abs().max() > 0.05


def test_modrelu_turns_with_its_input() -> None:
    layer, z = ModReLU(2, 6).double(), complex_drawn(5, 2, 6)
    layer.load_state_dict({"threshold": drawn(2, 6, seed=3)})
    phasor = torch.polar(torch.ones(1, dtype=torch.float64), torch.full((1,), 0.7, dtype=torch.float64))
    torch.testing.assert_close(layer(phasor * z), phasor * layer(z))


def test_modrelu_of_zero_is_zero_with_finite_gradients() -> None:
    layer, z = ModReLU(1, 2).double(), torch.zeros(1, 1, 2, dtype=torch.complex128, requires_grad=True)
    nn.init.constant_(layer.threshold, 0.1)
    out = layer(z)
    assert not out.detach().abs().any()
    for gradient in torch.autograd.grad(out.real.sum(), [z, layer.threshold]):
        assert gradient.isfinite().all()
