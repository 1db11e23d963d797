"""Tiles give what the whole photograph gives, whatever their size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from relit.clip_lit import pyramid_tiles, tiled
from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, UNet, enhance, initialise
from relit.clip_lit.pyramid_tiles import BEFORE_POOLING, BEHIND_POOLING
from relit.clip_lit.released import load_released
from relit.clip_lit.tiled import enhance_any_size, halo_of_unet, tiled_map
from relit.clip_lit.tiles import tiles
from relit.data.photo import read_photo
from relit.keyed import keyed_generator
from relit.metrics import round_to_8_bits
from relit.weights import load_network_weights

NETWORKS = {
    "ResidualPPM": lambda: ResidualPPM(initial_map=0.5),
    "UNet": lambda: UNet(initial_map=0.5),
    "UNet of 2 levels": lambda: UNet((4, 6), initial_map=0.5),
    "UNet of 1 level": lambda: UNet((4,), initial_map=0.5),
}
each_network = pytest.mark.parametrize("kind", NETWORKS)


def built(kind: str) -> IlluminationNetwork:
    """With weights large enough that the map follows all parts of the network."""
    network: IlluminationNetwork = NETWORKS[kind]()
    initialise(network, keyed_generator("tiled"))
    with torch.no_grad():
        if isinstance(network, ResidualPPM):
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.mul_(3)
        else:
            network.output.weight.mul_(50)
        network.output.weight.abs_()
    return network.eval()


def photos(height: int, width: int, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height))


@torch.no_grad()
def whole(network: IlluminationNetwork, photo: Tensor) -> Tensor:
    illumination: Tensor = network(photo)
    return illumination


def joined(network: IlluminationNetwork, photo: Tensor, side: int) -> Tensor:
    """The map of all tiles; NaN where none came."""
    illumination = photo.new_full((len(photo), 1, *photo.shape[2:]), torch.nan)
    for place, tile in tiled_map(network, photo, side):
        illumination[place] = tile
    return illumination


# --- equality ---


@each_network
@pytest.mark.parametrize(
    ("size", "side"),
    # tiles wider than the halo, narrower than it, a rest of a single pixel, fewer pixels than bins, one tile
    [
        ((97, 133), 50),
        ((97, 133), 24),
        ((29, 40), 7),
        ((22, 13), 3),
        ((33, 2), 8),
        ((2, 3), 1),
        ((20, 30), 99),
    ],
)
def test_tiles_of_any_size_give_what_the_whole_gives(kind: str, size: tuple[int, int], side: int) -> None:
    network, photo = built(kind), photos(*size)
    expected = whole(network, photo)
    assert expected.std() > 0.003  # a map that says something
    torch.testing.assert_close(joined(network, photo, side), expected, atol=1e-5, rtol=0)


@each_network
@pytest.mark.parametrize("side", [16, 33])
def test_in_double_precision_nothing_but_rounding_is_between_them(kind: str, side: int) -> None:
    network, photo = built(kind).double(), photos(61, 83).double()
    torch.testing.assert_close(joined(network, photo, side), whole(network, photo), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("side", [16, 33])
def test_features_that_are_not_kept_are_computed_again(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, photo = built("ResidualPPM").double(), photos(61, 83).double()
    seen = []
    network.ResidualBlock2.register_forward_hook(lambda *_: seen.append(1))  # type: ignore[operator]
    kept = joined(network, photo, side)
    at_once = len(seen)
    monkeypatch.setattr(pyramid_tiles, "KEPT", 32 * 61 * 83 * 8 - 1)
    torch.testing.assert_close(joined(network, photo, side), kept, atol=1e-12, rtol=0)
    assert len(seen) == 3 * at_once == 3 * len(list(tiles((61, 83), side, 0)))


@each_network
def test_photographs_of_a_batch_do_not_mix(kind: str) -> None:
    network, batch = built(kind), photos(40, 31, count=2)
    batch[1] *= 0.2
    expected = torch.cat([whole(network, photo[None]) for photo in batch])
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(joined(network, batch, 16), expected, atol=1e-5, rtol=0)


def test_the_pyramid_sees_the_whole_photograph_from_every_tile() -> None:
    network, photo = built("ResidualPPM").double(), photos(80, 80).double()
    changed = photo.clone()
    changed[..., 70:, 70:] = 0
    difference = (joined(network, changed, 20) - joined(network, photo, 20)).abs()
    assert difference[..., :20, :20].max() > 1e-6
    torch.testing.assert_close(joined(network, changed, 20), whole(network, changed), atol=1e-12, rtol=0)


# --- halos ---


def reach(outputs: Tensor, inputs: Tensor, start: int, stop: int) -> tuple[int, int]:
    """Columns left of ``start`` and from ``stop`` on that outputs[..., start:stop] depends on."""
    (gradient,) = torch.autograd.grad(outputs[..., start:stop].sum(), inputs)
    touched = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    return start - int(touched[0]), int(touched[-1]) + 1 - stop


def test_halos_of_the_released_network_are_what_its_convolutions_look_around() -> None:
    network = built("ResidualPPM").double()
    assert isinstance(network, ResidualPPM)
    photo = photos(6, 60).double().requires_grad_()
    assert reach(network.before_pooling(photo), photo, 28, 30) == (BEFORE_POOLING, BEFORE_POOLING)
    features = torch.rand(1, 32, 6, 60, generator=keyed_generator("features")).double().requires_grad_()
    parts = torch.zeros(1, 32, 6, 60).double()
    illumination = network.behind_pooling(network.PPM1.fuse(torch.cat([features, parts], dim=1)))
    assert reach(illumination, features, 28, 30) == (BEHIND_POOLING, BEHIND_POOLING)


@pytest.mark.parametrize(("kind", "looks", "halo"), [("UNet", 54, 56), ("UNet of 2 levels", 10, 10)])
def test_halo_of_a_unet_is_what_it_looks_around(kind: str, looks: int, halo: int) -> None:
    network = built(kind).double()
    assert isinstance(network, UNet)
    photo = photos(64, 240).double().requires_grad_()
    assert reach(network(photo), photo, 112, 128) == (looks, looks)
    assert halo_of_unet(network) == halo


# --- memory ---


@pytest.mark.parametrize(("kind", "most"), [("ResidualPPM", 24 + 2 * 17), ("UNet", 24 + 2 * 56 + 2)])
def test_no_convolution_sees_more_than_a_tile_and_its_halo(kind: str, most: int) -> None:
    network, sides = built(kind), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, given: sides.extend(given[0].shape[2:]))
    joined(network, photos(200, 210), 24)
    assert max(sides) <= most
    sides.clear()
    whole(network, photos(200, 210))
    assert max(sides) >= 210


# --- tiles ---


@pytest.mark.parametrize(
    ("length", "side", "multiple", "expected"),
    [(100, 30, 1, 25), (97, 133, 1, 97), (9, 4, 1, 3), (100, 30, 8, 32), (65, 64, 8, 40), (5, 1, 8, 8)],
)
def test_tiles_cover_a_photograph_once_and_are_of_about_one_size(
    length: int, side: int, multiple: int, expected: int
) -> None:
    photo = torch.arange(length * 7).view(length, 7)
    covered = torch.zeros(length, 7)
    for tile in tiles((length, 7), side, halo=2, multiple=multiple):
        assert torch.equal(photo[tile.window][tile.inner], photo[tile.place])
        _, rows, columns = tile.place
        _, framed, _ = tile.window
        assert (framed.start, framed.stop) == (max(rows.start - 2, 0), min(rows.stop + 2, length))
        assert rows.start % multiple == columns.start % multiple == 0
        assert rows.stop - rows.start == expected or rows.stop == length
        covered[tile.place] += 1
    assert (covered == 1).all()


# --- photographs ---


@torch.no_grad()
@each_network
def test_large_photographs_are_tiled_to_the_same_result(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, photo = built(kind), photos(50, 61)
    expected = enhance(photo, network(photo))
    assert torch.equal(enhance_any_size(network, photo), expected)
    asked = []

    def noted(network: IlluminationNetwork, photo: Tensor, side: int) -> object:
        asked.append(side)
        return tiled_map(network, photo, side)

    monkeypatch.setattr(tiled, "tiled_map", noted)
    monkeypatch.setattr(tiled, "SIDE", 32)
    torch.testing.assert_close(enhance_any_size(network, photo), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(enhance_any_size(network, photo, side=40), expected, atol=1e-4, rtol=0)
    assert asked == [32, 40]
    assert torch.equal(enhance_any_size(network, photo, side=61), expected)  # no more than a tile


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
@each_network
def test_single_rows_are_tiled_too(kind: str, size: tuple[int, int]) -> None:
    network, photo = built(kind), photos(*size)
    with torch.no_grad():
        expected = enhance_any_size(network, photo)
    found = enhance_any_size(network, photo, side=8)
    assert found.shape == photo.shape
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_photograph_is_left_as_it_is() -> None:
    photo = photos(40, 40)
    before = photo.clone()
    enhance_any_size(built("UNet"), photo, side=16)
    assert torch.equal(photo, before)


@pytest.mark.slow
def test_a_real_photograph_in_tiles_differs_by_a_level_at_most(shared: Path) -> None:
    network = ResidualPPM().eval()
    checkpoint = shared / "checkpoints/clip_lit/enhancement_model.pth"
    load_network_weights(network, load_released(checkpoint), checkpoint)
    photo = read_photo(shared / "photos/backlit/c5b8b4070688114c602b27933c6699b6.jpg")[None].float() / 255
    with torch.no_grad():
        expected = round_to_8_bits(enhance(photo, network(photo)))
    assert (expected - photo).abs().mean() > 0.05
    levels = (round_to_8_bits(enhance_any_size(network, photo, side=256)) - expected).abs() * 255
    assert levels.max() <= 1.01
    assert (levels > 0.5).float().mean() < 1e-3


# --- what is refused ---


def test_a_tile_without_pixels_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1 pixel a side, not 0"):
        next(tiled_map(built("UNet"), photos(8, 8), side=0))


def test_a_network_of_unknown_halo_is_an_error() -> None:
    class Other(IlluminationNetwork):
        output = nn.Conv2d(3, 1, 3)

        def illumination(self, x: Tensor) -> Tensor:
            return self.output(x)

    with pytest.raises(TypeError, match="Other has no known halo"):
        next(tiled_map(Other(1.0), photos(8, 8), side=4))
