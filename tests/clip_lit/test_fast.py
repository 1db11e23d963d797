"""The map of a reduced photograph comes back to full size along the photograph's edges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from relit.clip_lit import fast
from relit.clip_lit.fast import box_mean, enhance_fast, guided_upsampling, linear_model, seen
from relit.clip_lit.network import ResidualPPM, UNet, initialise
from relit.clip_lit.released import load_released
from relit.clip_lit.tiled import enhance_any_size
from relit.data.photo import read_photo
from relit.keyed import keyed_generator
from relit.metrics import image_psnr
from relit.weights import load_network_weights


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="nearest")


def network_of_a_textured_map() -> UNet:
    network = UNet((4, 6), initial_map=0.5)
    initialise(network, keyed_generator("fast"))
    with torch.no_grad():
        network.output.weight.mul_(50)
    return network.eval()


# --- guided filter ---


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
    guide, side = seen(photo), 2 * fast.BLUR + 1
    assert guide[0, 0, 10, 10].item() == pytest.approx((0.0299 + 0.2935 + 0.1026) / side**2)
    assert (guide > 0).sum() == side**2


# --- photographs ---


@pytest.mark.parametrize("size", [(1, 1), (20, 30)])
def test_small_photographs_are_not_reduced(size: tuple[int, int]) -> None:
    network, photo = network_of_a_textured_map(), drawn(1, 3, *size)
    assert torch.equal(enhance_fast(network, photo), enhance_any_size(network, photo))


@pytest.mark.parametrize("size", [(96, 130), (1, 200), (300, 2)])
def test_results_are_of_the_photographs_size_and_within_bounds(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "LONG_SIDE", 48)
    network, photo, sides = network_of_a_textured_map(), drawn(1, 3, *size), []
    network.register_forward_pre_hook(lambda _, given: sides.append(max(given[0].shape)))
    result = enhance_fast(network, photo)
    assert sides == [48]  # it is the reduced photograph that costs
    assert result.shape == photo.shape
    assert 0 <= result.min() <= result.max() <= 1


def test_a_flat_map_gives_the_exact_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "LONG_SIDE", 32)
    network, photo = UNet((4, 6), initial_map=0.4), drawn(1, 3, 64, 80)
    with torch.no_grad():
        network.output.weight.zero_()
        assert network.output.bias is not None
        network.output.bias.fill_(0.4)
    torch.testing.assert_close(enhance_fast(network, photo), (photo / 0.4).clamp(0, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["110_51093502029_o", "30374039626_355dca2192_o", "91_51094235055_o", "c5b8b4070688114c602b27933c6699b6"],
)
def test_real_photographs_come_out_close_to_the_exact_result(name: str, shared: Path) -> None:
    network = ResidualPPM().eval()
    checkpoint = shared / "checkpoints/clip_lit/enhancement_model.pth"
    load_network_weights(network, load_released(checkpoint), checkpoint)
    photo = read_photo(shared / f"photos/backlit/{name}.jpg")[None].float() / 255
    exact = enhance_any_size(network, photo)
    assert image_psnr(photo, exact).item() < 20
    assert image_psnr(enhance_fast(network, photo), exact).item() > 35
