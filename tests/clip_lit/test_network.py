"""The released network exactly, an alternative of its size, and a division whose gradients stay finite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, UNet, enhance, initialise
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

NETWORKS = [ResidualPPM, UNet]


def photos(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def lively(network: IlluminationNetwork, scale: float = 3.0) -> IlluminationNetwork:
    """A network whose every path matters: larger weights than the flat start has."""
    initialise(network, keyed_generator("lively"))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(scale)
        network.output.weight.abs_()
    return network.eval()


def test_released_network_has_its_parameters_and_unet_about_as_many() -> None:
    count = {network: sum(p.numel() for p in network().parameters()) for network in NETWORKS}
    assert count[ResidualPPM] == 278_790
    assert 0.9 * 278_790 < count[UNet] < 1.1 * 278_790


def test_padding_matters_in_training_at_the_border_only_until_pooling_spreads_it() -> None:
    reflect, zeros = lively(ResidualPPM("reflect")), lively(ResidualPPM("zeros"))
    x = photos(1, 16, 16)
    assert torch.equal(reflect(x), zeros(x))
    assert not torch.allclose(reflect.train()(x), zeros.train()(x))


def test_unknown_padding_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="circular"):
        ResidualPPM("circular")  # type: ignore[arg-type]


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("size", [(2, 2), (3, 9), (16, 16), (17, 30), (33, 8)])
def test_any_size_gives_a_map_of_that_size(build: type[IlluminationNetwork], size: tuple[int, int]) -> None:
    network = build()
    initialise(network, keyed_generator(0))
    illumination = network(photos(2, *size))
    assert illumination.shape == (2, 1, *size)
    assert illumination.isfinite().all()
    assert illumination.min() >= 0


def test_unet_takes_single_pixels() -> None:
    assert UNet()(photos(1, 1, 1)).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("build", NETWORKS)
def test_images_of_a_batch_do_not_mix(build: type[IlluminationNetwork]) -> None:
    network, x = lively(build()), photos(3, 16, 16)
    alone = torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(network(x), alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("build", NETWORKS)
def test_every_pixel_of_the_map_sees_the_whole_of_a_small_photo(build: type[IlluminationNetwork]) -> None:
    network, x = lively(build()).double(), photos(1, 24, 24).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 0, 0], x)
    assert gradient[0, :, -1, -1].abs().sum() > 0


@pytest.mark.parametrize("build", NETWORKS)
def test_every_parameter_is_reached_by_a_gradient(build: type[IlluminationNetwork]) -> None:
    network, x = lively(build()).train(), photos(2, 16, 16)
    network(x).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("build", NETWORKS)
def test_initial_weights_are_a_function_of_the_generator(build: type[IlluminationNetwork]) -> None:
    networks = [build() for _ in range(3)]
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        torch.manual_seed(seed + 100)  # the global generator must not matter
        initialise(network, keyed_generator(seed))
    first, second, third = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    weights = [name for name in first if first[name].ndim == 4]
    assert all(not torch.equal(first[name], third[name]) for name in weights)


def test_initial_weights_of_the_released_network() -> None:
    network = ResidualPPM()
    initialise(network, keyed_generator(0))
    convolutions = torch.cat([p.flatten() for p in network.parameters() if p.ndim == 4])
    assert convolutions.std().item() == pytest.approx(0.02, rel=0.01)
    assert convolutions.mean().item() == pytest.approx(0, abs=2e-4)
    for name, fan_in in {"cond1": 3 * 9, "condx": 32 * 9, "condy": 64 * 9}.items():
        bias = network.state_dict()[f"{name}.bias"] * fan_in**0.5
        assert bias.abs().max() <= 1
        assert bias.std().item() == pytest.approx(3**-0.5, rel=0.35)  # uniform in [-1, 1]
    slopes = [m.weight for m in network.modules() if isinstance(m, nn.PReLU)]
    assert len(slopes) == 5
    assert all(slope.item() == 0.25 for slope in slopes)


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("initial_map", [1.0, 0.4])
def test_initial_map_is_flat_at_its_value(build: type[IlluminationNetwork], initial_map: float) -> None:
    network = build(initial_map=initial_map)
    for seed in range(5):
        initialise(network, keyed_generator(seed))
        illumination = network(photos(1, 24, 24, seed))
        assert illumination.mean().item() == pytest.approx(initial_map, abs=0.06)
        assert illumination.std().item() < 0.01


def test_without_initial_map_some_seeds_are_born_dead() -> None:
    network = ResidualPPM(initial_map=None)
    dead = 0
    for seed in range(6):
        initialise(network, keyed_generator(seed))
        dead += network(photos(1, 8, 8)).max().item() == 0
    assert 0 < dead < 6


def test_enhance_is_the_released_division_above_the_floor() -> None:
    image, illumination = photos(2, 8, 8), photos(2, 8, 8, seed=1)[:, :1] + 2e-4
    expected = torch.clamp(image / (illumination + 1e-9), 0, 1)
    assert torch.equal(enhance(image, illumination), expected)


def test_enhance_equals_the_release_for_8_bit_photos_everywhere() -> None:
    image = torch.arange(256).view(1, 1, 1, 256).expand(1, 3, 1, 256) / 255
    for value in (0.0, 1e-9, 1e-6, 1e-4, 1e-3):
        illumination = torch.full((1, 1, 1, 256), value)
        expected = torch.clamp(image / (illumination + 1e-9), 0, 1)
        torch.testing.assert_close(enhance(image, illumination), expected, atol=1e-6, rtol=0)


def test_enhance_inverts_the_retinex_model() -> None:
    result, illumination = photos(1, 6, 6), 0.1 + 0.9 * photos(1, 6, 6, seed=1)[:, :1]
    torch.testing.assert_close(enhance(result * illumination, illumination), result)
    assert torch.equal(enhance(result, torch.ones(1, 1, 6, 6)), result)


@pytest.mark.parametrize("value", [0.0, 1e-12, 1e-6, 1e-3, 1.0])
def test_gradients_of_enhance_are_bounded(value: float) -> None:
    image = torch.cat([torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), value), torch.ones(1, 3, 2, 2)])
    image.requires_grad_()
    illumination = torch.full((3, 1, 2, 2), value, requires_grad=True)
    enhance(image, illumination).sum().backward()
    for tensor in (image, illumination):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() <= 3.01 / 1e-4


def test_a_dead_map_gives_finite_gradients_to_the_network() -> None:
    network = ResidualPPM(initial_map=-1.0)
    initialise(network, keyed_generator(0))
    x = photos(1, 8, 8)
    x[..., :2] = 0
    result = enhance(x, network(x))
    assert result[..., 2:].eq(1).all()
    result.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_gradients_of_enhance_are_right() -> None:
    image = (0.1 + 0.3 * photos(1, 3, 3).double()).requires_grad_()
    illumination = (0.5 + photos(1, 3, 3, seed=1)[:, :1].double()).requires_grad_()
    assert torch.autograd.gradcheck(enhance, (image, illumination))


@pytest.mark.parametrize("build", NETWORKS)
def test_a_network_learns_a_constant_illumination(build: type[IlluminationNetwork]) -> None:
    network = build(initial_map=1.0)
    initialise(network, keyed_generator(0))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
    x = 0.5 * photos(2, 12, 12)
    losses = []
    for _ in range(20):
        loss = (enhance(x, network(x)) - x / 0.6).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses) < 0.5 * losses[0]
