"""LPIPS with a network of random weights, loaded as the real ones are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from relit.perceptual import BACKBONE, LEAST_SIDE, Unavailable, load_lpips, load_musiq

CPU = torch.device("cpu")


@pytest.fixture
def lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tensor, Tensor], float]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), folder / BACKBONE)
    return load_lpips(CPU)


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    first = torch.rand(1, 3, 48, 40, generator=generator)
    return first, (first + 0.2 * torch.randn(first.shape, generator=generator)).clamp(0, 1)


def test_lpips_is_symmetric_zero_for_equal_images_and_grows_with_the_distortion(
    lpips: Callable[[Tensor, Tensor], float],
) -> None:
    one, other = images()
    assert lpips(one, one) == 0
    assert lpips(one, other) == pytest.approx(lpips(other, one), rel=1e-5)
    between = torch.lerp(one, other, 0.3)
    assert 0 < lpips(one, between) < lpips(one, other)


def test_lpips_shows_the_network_images_in_minus_one_to_one(lpips: Callable[[Tensor, Tensor], float]) -> None:
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    one, other = images()
    expected = learned_perceptual_image_patch_similarity(one, other, net_type="alex", normalize=True)
    assert lpips(one, other) == pytest.approx(expected.item(), rel=1e-5)
    unscaled = learned_perceptual_image_patch_similarity(one, other, net_type="alex", normalize=False)
    assert lpips(one, other) != pytest.approx(unscaled.item(), rel=1e-2)


def test_lpips_measures_each_image_for_itself(lpips: Callable[[Tensor, Tensor], float]) -> None:
    one, other = images()
    alone = lpips(one, other)
    lpips(other, other)
    assert lpips(one, other) == alone


def test_lpips_says_below_which_size_there_is_no_figure(lpips: Callable[[Tensor, Tensor], float]) -> None:
    least = torch.rand(1, 3, LEAST_SIDE, LEAST_SIDE)
    assert lpips(least, 1 - least) > 0
    with pytest.raises(ValueError, match="31x31 pixels, not 40x30"):
        lpips(torch.rand(1, 3, 30, 40), torch.rand(1, 3, 30, 40))


def test_a_damaged_weight_file_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / BACKBONE).write_bytes(b"half a file")
    with pytest.raises(Unavailable, match=BACKBONE) as found:
        load_lpips(CPU)
    assert "\n" not in str(found.value)


def test_musiq_without_its_package_names_the_extra_and_the_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(Unavailable, match=r"\[musiq\].*PolyForm Noncommercial"):
        load_musiq(CPU)
