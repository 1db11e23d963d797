"""The map of a reduced photograph comes back to full size along the photograph's edges."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from relit.clip_lit import guided
from relit.clip_lit.guided import box_mean, guided_upsampling, linear_model, map_of_reduced, seen
from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, UNet, enhance, initialise
from relit.clip_lit.tiled import enhance_any_size
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="nearest")


def test_coefficients_are_the_means_of_ridge_regressions_in_all_windows() -> None:
    target, guide = drawn(1, 1, 7, 9).double(), drawn(1, 1, 7, 9, seed=1).double()
    radius, eps = 2, 0.01
    fits = torch.empty(2, 7, 9).double()
    windows = {}
    for row in range(7):
        for column in range(9):
            rows = slice(max(row - radius, 0), row + radius + 1)
            columns = slice(max(column - radius, 0), column + radius + 1)
            windows[row, column] = (rows, columns)
            p, i = target[0, 0, rows, columns].flatten(), guide[0, 0, rows, columns].flatten()
            # the penalty as one more equation, weighed as all the window's pixels together
            ridge = torch.tensor([(eps * len(i)) ** 0.5, 0], dtype=torch.float64)
            equations = torch.cat([torch.stack([i, torch.ones_like(i)], dim=1), ridge[None]])
            values = torch.cat([p, p.new_zeros(1)])
            fits[:, row, column] = torch.linalg.lstsq(equations, values[:, None]).solution[:, 0]
    slope, offset = linear_model(target, guide, radius, eps)
    for (row, column), (rows, columns) in windows.items():
        a, b = fits[:, rows, columns].mean((1, 2))
        assert slope[0, 0, row, column].item() == pytest.approx(a.item(), abs=1e-9)
        assert offset[0, 0, row, column].item() == pytest.approx(b.item(), abs=1e-9)


@pytest.mark.parametrize("size", [(6, 8), (1, 5), (2, 2)])
def test_means_are_of_the_part_of_a_window_that_exists(size: tuple[int, int]) -> None:
    x = drawn(2, 3, *size)
    means = box_mean(x, 2)
    for row in range(size[0]):
        for column in range(size[1]):
            window = x[..., max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            torch.testing.assert_close(means[..., row, column], window.mean((2, 3)))


def test_a_constant_map_stays_constant() -> None:
    guide = drawn(1, 1, 40, 60)
    found = guided_upsampling(torch.full((1, 1, 10, 15), 0.37), box_mean(drawn(1, 1, 10, 15), 1), guide)
    torch.testing.assert_close(found, torch.full((1, 1, 40, 60), 0.37))


def test_a_map_that_is_linear_in_the_guide_is_so_at_full_size() -> None:
    small_guide = drawn(1, 1, 12, 10).double()
    guide = enlarged(small_guide, 4)
    found = guided_upsampling(0.2 + 0.6 * small_guide, small_guide, guide, radius=2, eps=1e-12)
    torch.testing.assert_close(found, 0.2 + 0.6 * guide, atol=1e-8, rtol=0)


def test_a_map_of_nothing_in_the_guide_is_smoothed_bilinearly() -> None:
    small = drawn(1, 1, 9, 9)
    found = guided_upsampling(small, torch.full((1, 1, 9, 9), 0.5), torch.full((1, 1, 27, 27), 0.5), 1)
    smoothed = F.interpolate(box_mean(box_mean(small, 1), 1), (27, 27), mode="bilinear")
    torch.testing.assert_close(found, smoothed)


def test_edges_are_kept_better_than_by_bilinear_upsampling() -> None:
    full = torch.full((1, 1, 96, 96), 0.2)
    full[..., 43:] = 0.9  # not where pixels of the reduced one meet
    small = F.interpolate(full, (12, 12), mode="bilinear", antialias=True)
    found = guided_upsampling(small, small, full, radius=3)
    bilinear = F.interpolate(small, (96, 96), mode="bilinear")
    assert (found - full).abs().max() < 0.05
    assert (bilinear - full).abs().max() > 0.3


def test_the_map_stays_within_the_range_that_the_network_gave() -> None:
    small, small_guide = drawn(2, 1, 8, 8), drawn(2, 1, 8, 8, seed=1)
    small[1] += 3
    found = guided_upsampling(small, small_guide, 9 * drawn(2, 1, 32, 32) - 4, radius=1)
    for one, of in zip(found, small, strict=True):
        assert one.min() == of.min()
        assert one.max() == of.max()


def test_the_guide_is_blurred_luminance() -> None:
    photo = torch.zeros(1, 3, 21, 21)
    photo[0, :, 10, 10] = torch.tensor([0.1, 0.5, 0.9])
    guide, side = seen(photo), 2 * guided.BLUR + 1
    assert guide[0, 0, 10, 10].item() == pytest.approx((0.0299 + 0.2935 + 0.1026) / side**2)
    assert (guide > 0).sum() == side**2


# --- networks that see reduced photographs ---


BUILD: dict[str, Callable[[int], IlluminationNetwork]] = {
    "ResidualPPM": lambda scale: ResidualPPM(initial_map=0.6, illumination_scale=scale),
    "UNet": lambda scale: UNet((4, 6), initial_map=0.6, illumination_scale=scale),
}


def network_of(kind: str, scale: int) -> IlluminationNetwork:
    """With weights large enough that its map is not flat."""
    network = BUILD[kind](scale)
    initialise(network, keyed_generator("guided"))
    with torch.no_grad():
        network.output.weight.mul_(30)
    return network.eval()


def test_a_pixel_of_the_reduced_is_the_mean_of_its_square() -> None:
    photo, given = drawn(1, 3, 8, 12), []

    def brightness(small: Tensor) -> Tensor:
        given.append(small)
        return small.mean(1, keepdim=True)

    found = map_of_reduced(photo, 4, brightness)
    expected = photo.reshape(1, 3, 2, 4, 3, 4).mean((3, 5))
    torch.testing.assert_close(given[0], expected)
    torch.testing.assert_close(
        found, guided_upsampling(expected.mean(1, keepdim=True), seen(expected), seen(photo))
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", BUILD)
def test_weights_are_those_of_the_full_size_and_so_is_the_map_of_a_reduced_photograph(kind: str) -> None:
    full, reduced = (network_of(kind, scale).double() for scale in (1, 3))
    full.load_state_dict(reduced.state_dict())
    photo = drawn(1, 3, 10, 16).double()
    found = reduced(enlarged(photo, 3))
    assert found.std() > 1e-3
    expected = guided_upsampling(full(photo), seen(photo), seen(enlarged(photo, 3)))
    torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", BUILD)
def test_maps_have_the_photographs_size_whatever_that_is(kind: str) -> None:
    network = network_of(kind, 4)
    for height, width in product((2, 3, 5, 8, 33), repeat=2):
        found = network(drawn(2, 3, height, width))
        assert found.shape == (2, 1, height, width)
        assert found.isfinite().all()
        assert found.min() >= 0


def test_training_begins_at_the_identity_and_reaches_every_weight() -> None:
    network, photo = ResidualPPM(initial_map=1.0, illumination_scale=4), drawn(2, 3, 48, 40)
    initialise(network, keyed_generator("start"))
    result = enhance(photo, network(photo))
    torch.testing.assert_close(result, photo, rtol=0, atol=0.03)
    (result - 1).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
@pytest.mark.parametrize("kind", BUILD)
def test_reduced_photographs_are_computed_in_tiles_where_they_are_large(kind: str) -> None:
    network, photo = network_of(kind, 2).double(), drawn(1, 3, 90, 130).double()
    found = enhance_any_size(network, photo, side=32)
    torch.testing.assert_close(found, enhance(photo, network(photo)))


@pytest.mark.parametrize("scale", [0, -1, 1.5, "2"])
def test_a_scale_is_a_whole_number_from_1(scale: int) -> None:
    with pytest.raises(ConfigurationError, match="illumination_scale"):
        ResidualPPM(illumination_scale=scale)
