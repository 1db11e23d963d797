"""The camera sets what the captions say, as a function of seed and position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relit.data.procedural import procedural_scene
from relit.keyed import keyed_generator
from relit.tiny_clip.attributes import AXES
from relit.tiny_clip.camera import EXPOSURE_EV, LUMA, Camera, _develop, _exposure_values

SIZE = 48
WELL, EVEN, NORMAL, NATURAL, SHARP = 3, 0, 1, 1, 0
"""The ordinary class of every axis."""
ORDINARY = [WELL, EVEN, NORMAL, NATURAL, SHARP]


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    return torch.stack([procedural_scene(SIZE + 16, "camera test", i) for i in range(3)])


def pictures(scenes: Tensor, axis: int, classes: list[int], noisy: bool = False) -> Tensor:
    """One picture of the same scene per class on ``axis``, (C, 3, SIZE, SIZE); all else ordinary."""
    count = len(classes)
    rows = torch.tensor([ORDINARY] * count)
    rows[:, axis] = torch.tensor(classes)
    linear = scenes[:1, :, :SIZE, :SIZE].expand(count, -1, -1, -1)
    amounts = torch.full((count, 8), 0.5)
    maps = torch.linspace(-1.5, 1.5, SIZE).expand(count, 1, SIZE, SIZE)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 3, SIZE, SIZE, generator=generator).expand_as(linear) * float(noisy)
    return _develop(linear, rows, amounts, maps, noise)


def luminance(images: Tensor) -> Tensor:
    return (images * LUMA[:, None, None]).sum(1)


def detail(images: Tensor) -> Tensor:
    """Mean difference of neighbouring pixels, per picture."""
    return (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))


# --- a function of (seed, position) ---


def test_a_batch_may_be_split_anywhere(scenes: Tensor) -> None:
    camera = Camera(scenes, SIZE, seed=5)
    images, classes = camera([0, 1, 2, 3, 4, 5])
    for split in ([[0, 1], [2, 3], [4, 5]], [[0], [1, 2, 3, 4, 5]]):
        parts = [camera(positions) for positions in split]
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), classes)


def test_position_and_seed_decide_the_picture(scenes: Tensor) -> None:
    camera = Camera(scenes, SIZE, seed=5)
    images, _ = camera([7, 8])
    assert torch.equal(Camera(scenes, SIZE, seed=5)([7])[0][0], images[0])
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(Camera(scenes, SIZE, seed=6)([7])[0][0], images[0])


def test_pictures_are_8_bit(scenes: Tensor) -> None:
    images, classes = Camera(scenes, SIZE, seed=0)(list(range(8)))
    assert images.shape == (8, 3, SIZE, SIZE)
    assert images.min() >= 0
    assert images.max() <= 1
    torch.testing.assert_close(images * 255, (images * 255).round(), atol=1e-4, rtol=0)
    assert classes.shape == (8, len(AXES))


def test_all_classes_occur_and_backlit_is_never_bright(scenes: Tensor) -> None:
    _, classes = Camera(scenes, 4, seed=1)(list(range(300)))
    for axis, phrases in enumerate(AXES.values()):
        assert classes[:, axis].unique().tolist() == list(range(len(phrases)))
    backlit = classes[classes[:, 1] == 1]
    assert backlit[:, 0].unique().tolist() == [1, 2, 3]


# --- what the classes mean ---


def test_exposure_classes_rise_in_brightness(scenes: Tensor) -> None:
    means = luminance(pictures(scenes, 0, list(range(7)))).mean((1, 2))
    assert (means.diff() > 0.01).all()


def test_exposure_ranges_are_in_order_and_do_not_meet() -> None:
    assert len(EXPOSURE_EV) == len(AXES["exposure"])
    flat = [ev for pair in EXPOSURE_EV for ev in pair]
    assert flat == sorted(flat)
    assert EXPOSURE_EV[WELL] == (-0.35, 0.35)


def test_backlight_is_uneven_light(scenes: Tensor) -> None:
    grey = torch.full((1, 3, SIZE, SIZE), 0.18)
    even, backlit = luminance(pictures(grey, 1, [0, 1]))
    assert even.max() - even.min() < 0.01
    assert backlit.max() - backlit.min() > 0.15
    assert backlit.std(0).mean() < 0.01  # as the map: from left to right


def stops(scene: Tensor, light: int, maps: Tensor) -> Tensor:
    """Stops per pixel, (SIZE, SIZE), that the camera gives ``scene``; well exposed, neutral amounts."""
    classes = torch.tensor([WELL]), torch.tensor([light])
    return _exposure_values(scene, *classes, torch.full((1, 2), 0.5), maps)[0, 0]


def test_light_from_behind_favours_what_is_bright() -> None:
    """A backlit scene's bright half, the background, gets more stops than its dark half."""
    scene = torch.full((1, 3, SIZE, SIZE), 0.05)
    scene[..., : SIZE // 2] = 0.6
    still = torch.zeros(1, 1, SIZE, SIZE)
    backlit = stops(scene, 1, still)
    assert backlit[:, : SIZE // 3].min() > backlit[:, -SIZE // 3 :].max() + 1
    assert torch.equal(stops(scene, 0, still), torch.zeros(SIZE, SIZE))


def test_the_random_map_is_high_where_the_shade_is() -> None:
    grey = torch.full((1, 3, SIZE, SIZE), 0.18)
    rising = torch.linspace(-1.5, 1.5, SIZE).expand(1, 1, SIZE, SIZE)
    assert (stops(grey, 1, rising).diff(dim=1) < 0).all()
    torch.testing.assert_close(stops(grey, 1, -rising), stops(grey, 1, rising).flip(1), atol=1e-5, rtol=0)


def test_contrast_rises(scenes: Tensor) -> None:
    spread = luminance(pictures(scenes, 2, [0, 1, 2])).flatten(1).std(1)
    assert spread[0] < 0.8 * spread[1] < 0.8 * spread[2]


def test_colours_are_what_they_are_called(scenes: Tensor) -> None:
    warm, natural, cold, grey, vivid = pictures(scenes, 3, [0, 1, 2, 3, 4])

    def warmth(image: Tensor) -> float:
        return float(image[0].mean() - image[2].mean())

    def chroma(image: Tensor) -> float:
        return float((image.amax(0) - image.amin(0)).mean())

    assert warmth(warm) > warmth(natural) + 0.05
    assert warmth(natural) > warmth(cold) + 0.05
    assert chroma(grey) < 0.02
    assert chroma(vivid) > 1.2 * chroma(natural) > 5 * chroma(grey)


def test_grey_pictures_of_the_camera_are_grey(scenes: Tensor) -> None:
    images, classes = Camera(scenes, SIZE, seed=2)(list(range(120)))
    smooth = torch.nn.functional.avg_pool2d(images, 8)  # noise is coloured even there
    chroma = (smooth.amax(1) - smooth.amin(1)).mean((1, 2))
    grey = classes[:, 3] == 3
    assert grey.sum() > 3
    assert chroma[grey].max() < 0.06
    assert chroma[classes[:, 3] == 4].mean() > 3 * chroma[grey].mean()


def test_blur_takes_detail_and_noise_adds_it(scenes: Tensor) -> None:
    sharp, blurry, noisy = detail(pictures(scenes, 4, [0, 1, 2], noisy=True))
    assert blurry < 0.5 * sharp
    assert noisy > 1.1 * sharp


def test_crops_are_turned_scenes(scenes: Tensor) -> None:
    """With scenes as large as pictures, what the camera sees is a scene under one of eight symmetries."""
    exact = scenes[:, :, :SIZE, :SIZE]
    camera = Camera(exact, SIZE, seed=0)
    for position in range(12):
        seen = camera._scene(keyed_generator(0, "camera", position))
        views = [
            torch.rot90(scene, turn, (1, 2)).flip(flip)
            for scene in exact
            for turn in range(4)
            for flip in ([], [2])
        ]
        channels = [{tuple(channel.flatten().tolist()) for channel in view} for view in views]
        assert {tuple(channel.flatten().tolist()) for channel in seen} in channels
