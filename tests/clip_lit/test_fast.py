"""``--fast``: what it costs, and how close it comes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from relit.clip_lit import fast
from relit.clip_lit.fast import enhance_fast
from relit.clip_lit.network import ResidualPPM, UNet, initialise
from relit.clip_lit.released import load_released
from relit.clip_lit.tiled import enhance_any_size
from relit.data.photo import read_photo
from relit.keyed import keyed_generator
from relit.metrics import image_psnr
from relit.weights import load_network_weights


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network_of_a_textured_map() -> UNet:
    network = UNet((4, 6), initial_map=0.5)
    initialise(network, keyed_generator("fast"))
    with torch.no_grad():
        network.output.weight.mul_(50)
    return network.eval()


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
