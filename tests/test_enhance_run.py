"""What becomes of photographs beside their light, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from photo_files import levels, stored_pixels, write_deep
from PIL import Image
from torch import Tensor

from relit.enhance_plan import plan_results
from relit.enhance_run import Settings, enhanced, write_results
from relit.grids import GAP
from relit.method import Method

OUT = Path("out")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def brighter(image: Tensor) -> Tensor:
    return image**0.5


def method(correct: object = brighter) -> Method:
    return Method("gamma", torch.device("cpu"), correct)  # type: ignore[arg-type]


def write(*photos: str, correct: object = brighter, settings: Settings | None = None, **plan: object) -> int:
    planned = plan_results([Path(photo) for photo in photos], OUT, **plan)  # type: ignore[arg-type]
    return write_results(method(correct), planned, settings)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_results_are_those_of_full_precision(channels: int, extension: str) -> None:
    pixels = levels((30, 40, channels), np.uint16)
    write_deep(Path(f"a.{extension}"), pixels)
    assert write(f"a.{extension}") == 0
    result = stored_pixels(OUT / f"a.{extension}")
    colours = min(channels, 3)
    expected = np.sqrt(pixels[..., :colours] / 65535) * 65535
    assert result.dtype == np.uint16
    assert np.abs(result[..., :colours] - expected).max() < 0.51  # no rounding to 8 bits on the way
    assert np.array_equal(result[..., colours:], pixels[..., colours:])


def test_a_grey_photograph_becomes_coloured_only_by_a_method_that_colours() -> None:
    Image.fromarray(levels((6, 7), np.uint8)).save("a.png")
    warmth = torch.tensor([1.0, 0.9, 0.7])[None, :, None, None]
    assert write("a.png", correct=lambda image: image * warmth) == 0
    grey = stored_pixels(Path("a.png"))
    result = stored_pixels(OUT / "a.png")
    assert result.shape == (6, 7, 3)
    assert np.abs(result - grey * [1.0, 0.9, 0.7]).max() < 0.51


def test_strength_blends_the_result_linearly_with_the_photograph() -> None:
    image = torch.rand(1, 3, 5, 6)
    assert torch.equal(enhanced(method(), image, 0), image)
    assert torch.equal(enhanced(method(), image), brighter(image))
    assert torch.allclose(enhanced(method(), image, 0.25), 0.75 * image + 0.25 * brighter(image))


def test_colours_beyond_srgb_are_kept_from_the_method_and_given_back() -> None:
    image = torch.tensor([-0.2, 0.25, 1.1])[None, :, None, None]
    seen = []

    def correct(image: Tensor) -> Tensor:
        seen.append(image)
        return brighter(image)

    result = enhanced(method(correct), image)
    assert torch.equal(seen[0].flatten(), torch.tensor([0.0, 0.25, 1.0]))
    assert torch.allclose(result.flatten(), torch.tensor([-0.2, 0.5, 1.1]))


def test_a_photograph_of_a_wide_profile_is_left_as_it_is_by_a_method_that_does_nothing() -> None:
    primaries = [0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0]
    profile = imagecodecs.cms_profile("rgb", whitepoint=[0.3127, 0.3290, 1.0], primaries=primaries, gamma=2.2)
    Image.fromarray(levels((30, 40, 3), np.uint8)).save("wide.png", icc_profile=profile)
    assert write("wide.png", correct=lambda image: image) == 0
    assert np.array_equal(stored_pixels(OUT / "wide.png"), stored_pixels(Path("wide.png")))
    with Image.open(OUT / "wide.png") as image:
        assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_a_comparison_shows_the_photograph_beside_its_result(extension: str) -> None:
    pixels = levels((6, 7, 3), np.uint16)
    write_deep(Path(f"a.{extension}"), pixels)
    assert write(f"a.{extension}", compare=True) == 0
    both = stored_pixels(OUT / f"a-compare.{extension}")
    result = stored_pixels(OUT / f"a.{extension}")
    assert both.dtype == np.uint8
    assert np.abs(both[:, :7] - pixels / 257).max() < 0.51
    assert (both[:, 7:-7] == 255).all()
    assert both.shape == (6, 7 + GAP + 7, 3)
    assert np.abs(both[:, -7:] - result / 257).max() < 0.51


def test_what_a_format_cannot_hold_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        write_deep(Path(name), levels((6, 7, 4), np.uint16))
    assert write("a.png", "b.png", format_name="jpeg") == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": lost")[0] for line in said] == [
        "relit enhance: a.png: JPEG holds no 16-bit samples",
        "relit enhance: a.png: JPEG holds no alpha",
    ]


def test_what_was_left_of_a_file_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (Image.fromarray(levels((4, 5, 3), np.uint8, seed)) for seed in (0, 1))
    first.save("a.tif", save_all=True, append_images=[second])
    assert write("a.tif") == 0
    assert (
        capsys.readouterr().err == "relit enhance: a.tif: holds 2 pictures, of which the first is enhanced\n"
    )
    with Image.open(OUT / "a.tif") as image:
        assert image.n_frames == 1


@pytest.mark.parametrize("extension", ["webp", "png"])
def test_an_animation_is_left_out(extension: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (Image.fromarray(levels((4, 5, 3), np.uint8, seed)) for seed in (0, 1))
    first.save(f"a.{extension}", save_all=True, append_images=[second])
    assert write(f"a.{extension}") == 1
    assert "an animation of 2 pictures" in capsys.readouterr().err
    assert not OUT.exists()


def test_bad_files_are_named_with_a_remedy_and_the_others_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("L", (20, 20)).save("large.png")
    Path("notes.txt").write_text("not a photograph")
    Path("empty.jpg").touch()
    Image.new("RGB", (16_390, 1)).save("long.png")
    Image.new("L", (5, 5)).save("good.png")
    settings = Settings(max_pixels=399)
    assert write("large.png", "notes.txt", "empty.jpg", "good.png", settings=settings) == 3
    assert [path.name for path in OUT.iterdir()] == ["good.png"]
    said = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("relit enhance: left out: ") for line in said] == [
        "large.png: of more than 399 pixels, see --max-pixels",
        "notes.txt: not an image, or of an unknown format",
        "empty.jpg: an empty file",
    ]
    assert write("long.png", format_name="webp") == 1
    assert "16,383 pixels along a side; give another --format" in capsys.readouterr().err


def test_what_can_not_be_written_or_is_no_result_costs_no_other_photograph(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dark, bright = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 200, np.uint8)
    names = ("a.png", f"{'n' * 250}.png", "z.png")
    for name, levels_ in zip(names, (bright, bright, dark), strict=True):
        Image.fromarray(levels_).save(name)
    # the comparison's name is longer than the system takes; black becomes 0 / 0
    assert write(*names, correct=lambda image: image / image * 0.5, compare=True) == 2
    assert sorted(path.name for path in OUT.iterdir()) == ["a-compare.png", "a.png"]
    said = capsys.readouterr().err
    assert "File name too long" in said
    assert "z.png: the result is not finite" in said


def test_an_absurd_resolution_is_not_kept() -> None:
    Image.fromarray(levels((4, 5, 3), np.uint8)).save("a.tif", dpi=(2e8, 2e8))
    assert write("a.tif", format_name="png") == 0
    with Image.open(OUT / "a.png") as image:
        assert "dpi" not in image.info


def test_a_batch_holds_neighbours_of_the_same_size_and_changes_no_result() -> None:
    sizes = [(6, 7), (6, 7), (6, 7), (7, 6), (6, 7), (6, 7)]
    names = [f"{number}.png" for number in range(len(sizes))]
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        Image.fromarray(levels((*size, 3), np.uint8, number)).save(name)
    seen = []

    def correct(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape))
        return brighter(images)

    assert write(*names, correct=correct, settings=Settings(batch=2)) == 0
    assert seen == [(2, 3, 6, 7), (1, 3, 6, 7), (1, 3, 7, 6), (2, 3, 6, 7)]
    at_once = [stored_pixels(OUT / name) for name in names]
    for name, found in zip(names, at_once, strict=True):
        expected = np.sqrt(stored_pixels(Path(name)) / 255) * 255
        assert np.abs(found - expected).max() < 0.51


def test_a_batch_that_memory_is_too_short_for_is_done_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("a.png", "b.png", "white.png")):
        Image.fromarray(levels((6, 7, 3), np.uint8, number)).save(name)
    Image.new("RGB", (7, 6), "white").save("white.png")

    def correct(images: Tensor) -> Tensor:
        if len(images) > 1 or images.min() == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return brighter(images)

    assert write("a.png", "b.png", "white.png", correct=correct, settings=Settings(batch=3)) == 1
    assert sorted(path.name for path in OUT.iterdir()) == ["a.png", "b.png"]
    assert capsys.readouterr().err.startswith(
        "relit enhance: left out: white.png: does not fit into the memory"
    )


def test_a_tiff_without_a_resolution_gets_none() -> None:
    Image.fromarray(levels((4, 5, 3), np.uint8)).save("a.tif")
    assert write("a.tif", format_name="png") == 0
    with Image.open(OUT / "a.png") as image:
        assert "dpi" not in image.info
