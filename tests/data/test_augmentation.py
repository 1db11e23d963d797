"""Augmentation: the maps do what their names say, pixels are moved exactly where that is possible."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from relit.data.augmentation import Augmentation, affine_map, apply_maps
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator


def noise(size: int = 17, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, size, size, generator=keyed_generator("noise", size))


def smooth(size: int = 64) -> torch.Tensor:
    """A picture without detail, so that interpolation costs little."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    return torch.stack([x, y, (x * y)])[None]


def moved(image: torch.Tensor, **arguments: float) -> torch.Tensor:
    return apply_maps(image, affine_map(**arguments)[None])  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [16, 17, 224])
def test_no_map_changes_nothing(size: int) -> None:
    assert torch.equal(moved(noise(size)), noise(size))


def test_flips_and_transpose_move_pixels_exactly() -> None:
    image = noise()
    assert torch.equal(moved(image, flip_x=True), torch.flip(image, [-1]))
    assert torch.equal(moved(image, flip_y=True), torch.flip(image, [-2]))
    assert torch.equal(moved(image, transpose=True), image.transpose(-1, -2))


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_flips_come_before_transpose_and_equal_the_interpolated_map(
    flip_x: bool, flip_y: bool, transpose: bool
) -> None:
    image = noise()
    expected = torch.flip(image, [dim for dim, on in ((-1, flip_x), (-2, flip_y)) if on])
    expected = expected.transpose(-1, -2) if transpose else expected
    theta = affine_map(flip_x=flip_x, flip_y=flip_y, transpose=transpose)[None]
    assert torch.equal(apply_maps(image, theta), expected)
    grid = functional.affine_grid(theta, list(image.shape), align_corners=False)
    assert torch.allclose(functional.grid_sample(image, grid, align_corners=False), expected, atol=1e-5)


@pytest.mark.parametrize("quarters", [-1, 1])
def test_positive_rotation_is_counter_clockwise(quarters: int) -> None:
    image = noise()
    assert torch.allclose(
        moved(image, angle=90.0 * quarters), torch.rot90(image, quarters, [-2, -1]), atol=1e-4
    )


def test_rotation_comes_last() -> None:
    image = noise()
    expected = torch.rot90(torch.flip(image, [-1]).transpose(-1, -2), 1, [-2, -1])
    assert torch.allclose(moved(image, flip_x=True, transpose=True, angle=90.0), expected, atol=1e-4)


def test_zoom_magnifies_each_axis_about_the_centre() -> None:
    size = 64
    ramp = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    image = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)])[None]
    result = moved(image, zoom_x=2.0, zoom_y=1.25)
    assert torch.allclose(result[0, 0], image[0, 0] / 2, atol=1e-4)
    assert torch.allclose(result[0, 1], image[0, 1] / 1.25, atol=1e-4)


def test_zoom_comes_after_transpose() -> None:
    image = smooth()
    expected = moved(image.transpose(-1, -2), zoom_x=1.3, zoom_y=0.8)
    assert torch.allclose(moved(image, transpose=True, zoom_x=1.3, zoom_y=0.8), expected, atol=1e-5)


def test_border_is_mirrored_with_the_edge_repeated() -> None:
    image = noise(16)
    halved = moved(image, zoom_x=0.5, zoom_y=0.5)
    mirrored = torch.cat([image.flip(-1), image, image.flip(-1)], dim=-1)
    mirrored = torch.cat([mirrored.flip(-2), mirrored, mirrored.flip(-2)], dim=-2)[..., 8:-8, 8:-8]
    assert torch.allclose(halved, functional.avg_pool2d(mirrored, 2), atol=1e-5)


def test_rotation_and_shrinking_bring_in_no_new_values() -> None:
    image = 0.4 + 0.2 * noise(32)
    result = moved(image, zoom_x=0.7, zoom_y=0.7, angle=30.0)
    assert result.min() >= image.min() - 1e-6
    assert result.max() <= image.max() + 1e-6


def test_rotation_there_and_back() -> None:
    image = smooth()
    back = moved(moved(image, angle=25.0), angle=-25.0)
    assert torch.allclose(back[..., 20:44, 20:44], image[..., 20:44, 20:44], atol=2e-3)


def test_a_batch_equals_its_images_one_by_one() -> None:
    images, augmentation = noise(24, batch=12), Augmentation(zoom_p=0.5)
    theta = augmentation.matrices(range(12), 3)
    together = augmentation.apply(images, theta)
    alone = torch.cat([augmentation.apply(images[i : i + 1], theta[i : i + 1]) for i in range(12)])
    assert torch.equal(together, alone)


def test_same_key_same_map_and_positions_are_independent() -> None:
    augmentation = Augmentation()
    maps = augmentation.matrices(torch.tensor([4, 9, 4]), 1, "enhancement")
    assert maps.shape == (3, 2, 3)
    assert torch.equal(maps[0], maps[2])
    assert torch.equal(augmentation.matrices([9], 1, "enhancement")[0], maps[1])
    many = range(100)
    assert not torch.equal(augmentation.matrices(many, 1), augmentation.matrices(many, 2))


def test_draw_is_repeatable_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (Augmentation().draw(keyed_generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_do_not_shift_other_draws() -> None:
    """With zoom and rotation off, the same key draws the same flips: ablations differ in one thing."""
    full, plain = Augmentation(), Augmentation(zoom_p=0, rotate_p=0)
    both = [(full.matrices([p], 0)[0], plain.matrices([p], 0)[0]) for p in range(60)]
    unwarped = [(a, b) for a, b in both if a.abs().max() == 1 and a.abs().sum() == 2]
    assert len(unwarped) > 15
    assert all(torch.equal(a, b) for a, b in unwarped)


def test_probabilities_and_ranges_over_2000_draws() -> None:
    def share(theta: torch.Tensor, what: torch.Tensor) -> float:
        return what.float().mean().item()

    positions = range(2000)
    flips = Augmentation(transpose=0, zoom_p=0, rotate_p=0).matrices(positions, 0)
    assert share(flips, flips[:, 0, 0] < 0) == pytest.approx(0.5, abs=0.04)
    assert share(flips, flips[:, 1, 1] < 0) == pytest.approx(0.5, abs=0.04)
    both = share(flips, (flips[:, 0, 0] < 0) & (flips[:, 1, 1] < 0))
    assert both == pytest.approx(0.25, abs=0.04)
    transposed = Augmentation(flip=0, zoom_p=0, rotate_p=0).matrices(positions, 0)
    assert share(transposed, transposed[:, 0, 0] == 0) == pytest.approx(0.5, abs=0.04)

    zoom = Augmentation(flip=0, transpose=0, rotate_p=0).matrices(positions, 0)
    zoomed = zoom[zoom[:, 0, 0] != 1]
    assert len(zoomed) / 2000 == pytest.approx(0.3, abs=0.04)
    factors = torch.stack([1 / zoomed[:, 0, 0], 1 / zoomed[:, 1, 1]])
    assert factors.min() >= 0.7 - 1e-5
    assert factors.max() <= 1.3 + 1e-5
    assert factors.mean(dim=1).tolist() == pytest.approx([1, 1], abs=0.03)
    assert abs(torch.corrcoef(factors)[0, 1]) < 0.15

    turn = Augmentation(flip=0, transpose=0, zoom_p=0).matrices(positions, 0)
    angles = torch.atan2(turn[:, 1, 0], turn[:, 0, 0])[turn[:, 1, 0] != 0] * 180 / math.pi
    assert len(angles) / 2000 == pytest.approx(0.3, abs=0.04)
    assert angles.min() >= -90.01
    assert angles.max() <= 90.01
    assert angles.mean().item() == pytest.approx(0, abs=8)
    assert angles.abs().mean().item() == pytest.approx(45, abs=5)


def test_prompts_zoom_range() -> None:
    zoom = Augmentation(zoom=[0.5, 1.5], flip=0, transpose=0, zoom_p=1, rotate_p=0).matrices(range(500), 0)
    factors = 1 / zoom[:, 0, 0]
    assert factors.min() < 0.55
    assert factors.max() > 1.45


def test_everything_off_is_the_identity() -> None:
    off = Augmentation(flip=0, transpose=0, zoom_p=0, rotate_p=0)
    images = noise(20, batch=4)
    assert torch.equal(off.apply(images, off.matrices(range(4), 0)), images)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"augmentation\.zoom_p"):
        Augmentation(zoom_p=1.3)
    with pytest.raises(ConfigurationError, match=r"augmentation\.zoom is"):
        Augmentation(zoom=(1.3, 0.7))
    with pytest.raises(ValueError, match="square"):
        apply_maps(torch.zeros(1, 3, 4, 5), affine_map()[None])
