"""PSNR and SSIM by the rgb8 protocol, against numpy and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from relit.metrics import PairMetrics, image_psnr, image_ssim, luma, round_to_8_bits
from relit.protocols import PROTOCOLS


def pair(batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, width).expand(batch, 3, height, width)
    reference = (0.6 * ramp + 0.4 * torch.rand(batch, 3, height, width, generator=generator)).clamp(0, 1)
    result = reference**1.7 + 0.1 * torch.randn(batch, 3, height, width, generator=generator)
    return result, reference  # the result leaves [0, 1], as a network's may


def as_8_bits(image: Tensor) -> np.ndarray:
    return np.rint(np.clip(image.double().numpy(), 0, 1) * 255) / 255


def test_psnr_is_the_formula_on_8_bit_images() -> None:
    result, reference = pair(3, 17, 23)
    expected = [
        -10 * math.log10(((as_8_bits(a) - as_8_bits(b)) ** 2).mean())
        for a, b in zip(result, reference, strict=True)
    ]
    torch.testing.assert_close(image_psnr(result, reference), torch.tensor(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", [(11, 11), (40, 33), (64, 20)])
def test_ssim_equals_scikit_image(size: tuple[int, int]) -> None:
    result, reference = pair(2, *size)
    expected = [
        structural_similarity(
            as_8_bits(a),
            as_8_bits(b),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=0,
        )
        for a, b in zip(result, reference, strict=True)
    ]
    torch.testing.assert_close(
        image_ssim(result, reference).double(), torch.tensor(expected), atol=1e-7, rtol=0
    )


def test_ssim_equals_torchmetrics_away_from_the_borders() -> None:
    result, reference = (round_to_8_bits(image.double()) for image in pair(1, 24, 31))
    _, full = structural_similarity_index_measure(
        result, reference, sigma=1.5, kernel_size=11, data_range=1.0, return_full_image=True
    )
    expected = full[..., 5:-5, 5:-5].mean().float()
    torch.testing.assert_close(image_ssim(result, reference), expected[None], atol=1e-7, rtol=0)


def test_ssim_is_exact_in_flat_bright_areas() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = 0.97 + 0.02 * torch.rand(1, 3, 40, 40, generator=generator)
    result = reference + 0.01 * torch.randn(1, 3, 40, 40, generator=generator)
    expected = structural_similarity(
        as_8_bits(result[0]),
        as_8_bits(reference[0]),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=0,
    )
    assert image_ssim(result, reference).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name not in ("lcdpnet", "y_channel")])
def test_protocols_of_data_sets_measure_as_rgb8_does(name: str) -> None:
    result, reference = pair(1, 20, 24)
    for metric in (image_psnr, image_ssim):
        assert torch.equal(metric(result, reference, PROTOCOLS[name]), metric(result, reference))


def test_lcdpnets_figures_are_of_floats_with_the_range_of_the_result() -> None:
    result, reference = pair(2, 30, 40)
    protocol = PROTOCOLS["lcdpnet"]
    psnr, ssim = (metric(result, reference, protocol) for metric in (image_psnr, image_ssim))
    for i, (a, b) in enumerate(zip(result.double().numpy(), reference.double().numpy(), strict=True)):
        assert psnr[i].item() == pytest.approx(-10 * math.log10(((a - b) ** 2).mean()), abs=1e-4)
        expected = structural_similarity(
            a, b, gaussian_weights=True, win_size=11, data_range=a.max() - a.min(), channel_axis=0
        )
        assert ssim[i].item() == pytest.approx(expected, abs=1e-6)
    for metric in (image_psnr, image_ssim):
        assert not torch.allclose(metric(result, reference, protocol), metric(result, reference), atol=1e-3)
    nudged = reference + 0.4 / 255  # nothing to rgb8
    assert image_psnr(nudged, reference, protocol).mean().item() == pytest.approx(
        20 * math.log10(255 / 0.4), abs=0.01
    )


def test_lcdpnets_ssim_of_a_result_of_one_level_is_refused() -> None:
    with pytest.raises(ValueError, match="one level"):
        image_ssim(torch.full((1, 3, 16, 16), 0.5), torch.rand(1, 3, 16, 16), PROTOCOLS["lcdpnet"])


def test_y_channel_compares_the_luma_of_8_bit_images() -> None:
    result, reference = pair(2, 30, 40)
    protocol = PROTOCOLS["y_channel"]
    psnr, ssim = (metric(result, reference, protocol) for metric in (image_psnr, image_ssim))
    for i in range(2):
        levels = [255 * as_8_bits(image[i]) for image in (result, reference)]
        a, b = (
            16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255 for red, green, blue in levels
        )  # of 255
        assert psnr[i].item() == pytest.approx(
            20 * math.log10(255 / math.sqrt(((a - b) ** 2).mean())), abs=1e-4
        )
        expected = structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        assert ssim[i].item() == pytest.approx(expected, abs=1e-6)


def test_luma_is_in_studio_range_and_weighs_green_most() -> None:
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])[:, :, None, None]
    levels = (luma(colours) * 255).flatten().tolist()
    assert levels == pytest.approx([16, 235, 81.481, 144.553, 40.966], abs=1e-4)


def test_differences_below_half_a_level_do_not_count() -> None:
    image = torch.randint(256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255
    nudged = image + 0.4 / 255
    assert torch.equal(round_to_8_bits(nudged), round_to_8_bits(image))
    assert image_psnr(nudged, image).item() == math.inf
    assert image_ssim(nudged, image).item() == pytest.approx(1, abs=1e-6)


def test_rounding_is_that_of_a_png() -> None:
    values = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 128.4 / 255, 1.0, 1.7])
    assert (round_to_8_bits(values) * 255).round().int().tolist() == [0, 0, 0, 1, 128, 255, 255]


def test_both_are_symmetric_and_fall_with_the_distortion() -> None:
    _, reference = pair(1, 32, 32)
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    for metric in (image_psnr, image_ssim):
        figures = [metric(reference + s * noise, reference).item() for s in (0.02, 0.05, 0.1, 0.3)]
        assert figures == sorted(figures, reverse=True)
        one, other = reference + 0.1 * noise, reference
        assert metric(one, other).item() == pytest.approx(metric(other, one).item(), abs=1e-5)


def test_mean_over_images_does_not_depend_on_the_batches() -> None:
    pairs = [pair(n, h, w, seed) for seed, (n, h, w) in enumerate([(3, 16, 16), (1, 16, 16), (2, 30, 12)])]
    metrics = PairMetrics()
    for result, reference in pairs:
        metrics.update(result, reference)
    figures = metrics.compute()
    psnr = torch.cat([image_psnr(*p) for p in pairs])
    ssim = torch.cat([image_ssim(*p) for p in pairs])
    assert len(psnr) == 6
    assert figures["psnr"].item() == pytest.approx(psnr.mean().item(), abs=1e-5)
    assert figures["ssim"].item() == pytest.approx(ssim.mean().item(), abs=1e-6)
    metrics.reset()
    metrics.update(*pairs[1])
    assert metrics.compute()["psnr"].item() == pytest.approx(image_psnr(*pairs[1]).item(), abs=1e-5)


def test_figures_do_not_depend_on_the_precision_of_the_network() -> None:
    reference = torch.randint(256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255
    half = torch.full_like(reference, 0.5).bfloat16()
    assert image_psnr(half, reference).dtype == torch.float32
    assert torch.equal(image_psnr(half, reference), image_psnr(half.float(), reference))


def test_collection_carries_its_prefix() -> None:
    metrics = PairMetrics(prefix="test/")
    metrics.update(*pair(1, 16, 16))
    assert set(metrics.compute()) == {"test/psnr", "test/ssim"}


def test_images_that_can_not_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="alike"):
        image_psnr(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 15))
    with pytest.raises(ValueError, match="12x10"):
        image_ssim(torch.rand(1, 3, 10, 12), torch.rand(1, 3, 10, 12))
