"""``relit enhance`` from a shell: what is written, said and returned."""

from __future__ import annotations

from importlib.resources import files as files_of
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import Tensor
from weight_files import ENHANCERS, write_enhancer, write_restorex

from relit.cli import main
from relit.clip_lit.network import enhance
from relit.clip_loading import load_clip
from relit.clip_restorex.restormer import padded
from relit.data.photo import read_photo, write_png
from relit.enhance_plan import plan_results
from relit.enhance_run import write_results
from relit.keyed import keyed_generator
from relit.method import Method

WEIGHTS = Path("weights.safetensors")


@pytest.fixture(autouse=True)
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The network whose weights lie in the working directory."""
    monkeypatch.chdir(tmp_path)
    return write_enhancer(WEIGHTS, ENHANCERS["UNet"])


def photograph(path: str, height: int = 11, width: int = 14) -> Path:
    """A dark photograph in a file of any format."""
    pixels = torch.randint(0, 90, (height, width, 3), generator=keyed_generator(path), dtype=torch.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.numpy()).save(path)
    return Path(path)


def run(*arguments: object) -> int:
    return main(["enhance", *map(str, arguments), "--weights", str(WEIGHTS), "--device", "cpu"])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is said, in one line, when the command is refused with status 2."""
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("relit enhance: ")
    assert said.err.count("\n") == 1
    return said.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """The lines that are said when the command is refused with status 2."""
    assert run(*arguments) == 2
    return capsys.readouterr().err.splitlines()


def files(folder: str | Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


@torch.no_grad()
def levels(network: torch.nn.Module, photo: Path) -> Tensor:
    """The result in 8-bit levels, straight from the network."""
    image = torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1)[None] / 255
    return (enhance(image, network(image))[0] * 255).round().to(torch.uint8)


def test_a_result_is_what_the_network_gives_rounded_to_8_bits(
    network: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [photograph("a.png"), photograph("somewhere/b.c.TIF", 9, 30)]
    assert run(*photos, "-o", "out/new") == 0
    assert files("out") == {"new/a.png", "new/b.c.TIF"}
    for photo in photos:
        result = read_photo(Path("out/new") / photo.name)
        assert torch.equal(result, levels(network, photo))
        assert not torch.equal(result, read_photo(photo))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("out/new: 2 photographs enhanced\n", "")


@torch.no_grad()
def test_clip_restorex_corrects_photographs_by_the_same_command() -> None:
    network = write_restorex(WEIGHTS)
    photo = photograph("a.png", 13, 21)
    assert run(photo, "-o", "out") == 0
    image = read_photo(photo)[None] / 255
    priors = network.restored_priors(image, load_clip("tiny-ViT", "embedded"))
    by_hand = network.restormer(padded(image), priors)[0, :, :13, :21].clamp(0, 1) * 255
    assert (by_hand - read_photo("out/a.png")).abs().max() < 0.51


def test_a_clip_that_came_from_a_file_is_named_by_the_caller_and_run_as_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It lies elsewhere now; whether it smooths before reducing photographs is kept in the weight file."""
    elsewhere = tmp_path / "elsewhere" / "own.safetensors"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes((files_of("relit.assets") / "tiny_clip.safetensors").read_bytes())
    clip = load_clip("tiny-ViT", str(elsewhere), antialias=False)
    network = write_restorex(WEIGHTS, clip={"prior": clip.described()})
    photo = photograph("a.png", 160, 200)
    assert "name it with --clip FILE" in "".join(refused(capsys, photo, "-o", "out"))
    assert run(photo, "-o", "out", "--clip", elsewhere) == 0
    image = read_photo(photo)[None] / 255
    with torch.no_grad():
        expected = network.restormer(image, network.restored_priors(image, clip))[0].clamp(0, 1) * 255
    assert (expected - read_photo("out/a.png")).abs().max() < 0.51
    (missing,) = refused(capsys, photo, "-o", "other", "--clip", "none.pt")
    assert "none.pt: no such file with the weights of a CLIP" in missing


def test_tiles_change_no_result_and_fast_is_another_way(capsys: pytest.CaptureFixture[str]) -> None:
    photo = photograph("a.png", 40, 600)
    for output, options in (("whole", []), ("tiled", ["--tile", 16]), ("fast", ["--fast"])):
        assert run(photo, "-o", output, *options) == 0
    whole, tiled, fast = (read_photo(f"{folder}/a.png").int() for folder in ("whole", "tiled", "fast"))
    assert (whole - tiled).abs().max() <= 1
    assert 0 < (whole - fast).abs().float().mean() < 8
    capsys.readouterr()
    for tile in (0, 15):
        assert f"--tile {tile}: give a number from 16" in refusal(capsys, photo, "-o", "out", "--tile", tile)


def test_results_go_to_a_folder_not_to_the_name_of_a_photograph(capsys: pytest.CaptureFixture[str]) -> None:
    photo = photograph("a.png", 16, 16)
    assert "-o out.JPG: is the name of a file" in refusal(capsys, photo, "-o", "out.JPG")
    Path("odd.png").mkdir()
    assert run(photo, "-o", "odd.png") == 0
    assert files("odd.png") == {"a.png"}


def test_folders_are_searched_and_made_again() -> None:
    for path in ("in/a.png", "in/deep/er/a.jpg", "in/deep/b.bmp", "in/.hidden/c.png", "two/d.png"):
        photograph(path)
    Path("in/notes.txt").touch()
    assert run("in", "two", "-o", "out") == 0
    assert files("out") == {"a.png", "deep/er/a.jpg", "deep/b.png", "d.png"}


def test_results_inside_a_searched_folder_are_not_enhanced_again() -> None:
    photograph("in/a.png")
    assert run("in", "-o", "in/out") == 0
    assert run("in", "-o", "in/out", "--force") == 0
    assert files("in/out") == {"a.png"}


def test_a_photograph_named_twice_is_enhanced_once(capsys: pytest.CaptureFixture[str]) -> None:
    photo = photograph("in/a.png")
    assert run("in", photo, photo.absolute(), "-o", "out") == 0
    assert capsys.readouterr().out == "out: 1 photograph enhanced\n"


def test_photographs_are_turned_upright_and_grey_ones_get_colours(network: torch.nn.Module) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    with Image.open(photograph("a.png", 10, 20)) as image:
        image.convert("L").save("turned.png", exif=exif)
    assert run("turned.png", "-o", "out") == 0
    upright = read_photo("turned.png")
    write_png("upright.png", upright)
    assert read_photo("out/turned.png").shape == upright.shape == (3, 20, 10)
    assert torch.equal(read_photo("out/turned.png"), levels(network, Path("upright.png")))


def test_nothing_is_replaced_unless_forced(
    network: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [photograph("a.png"), photograph("b.png")]
    old = photograph("out/b.png").read_bytes()
    said = refusal(capsys, *photos, "-o", "out")
    assert "out/b.png" in said
    assert "--force" in said
    assert files("out") == {"b.png"}
    assert Path("out/b.png").read_bytes() == old
    assert run(*photos, "-o", "out", "--force") == 0
    assert torch.equal(read_photo("out/b.png"), levels(network, photos[1]))


def test_an_original_is_never_replaced_by_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    original = photograph("in/a.png").read_bytes()
    for options in ([], ["--force"]):
        assert "another folder" in refusal(capsys, "in/a.png", "-o", "in", *options)
    assert Path("in/a.png").read_bytes() == original
    photograph("in/b.jpg")
    assert run("in/b.jpg", "-o", "in", "--format", "png") == 0
    assert files("in") == {"a.png", "b.jpg", "b.png"}


@pytest.mark.parametrize(
    "named", [["a.png", "a.bmp"], ["one/a.png", "two/a.png"], ["one", "two"], ["a.png", "A.bmp"]]
)
def test_results_that_would_have_one_name_are_told_before_the_work(
    named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("a.png", "a.bmp", "A.bmp", "one/a.png", "two/a.png"):
        photograph(path)
    said = refusal(capsys, *named, "-o", "out")
    assert all(name in said for name in named)
    assert "two folders" in said
    assert not Path("out").exists()


def test_what_cannot_be_read_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    whole = photograph("in/b.png", 40, 40).read_bytes()
    Path("in/a.png").write_bytes(whole[: len(whole) // 2])
    Path("in/c.jpg").write_bytes(b"no photograph")
    assert run("in", "-o", "out") == 1
    assert files("out") == {"b.png"}
    said = capsys.readouterr()
    assert said.out == "out: 1 photograph enhanced, 2 left out\n"
    told = said.err.splitlines()
    assert [line.split(": ")[2] for line in told] == ["in/a.png", "in/c.jpg"]
    assert "not an image" in told[1]


@pytest.mark.parametrize("of_gpu", [True, False])
def test_a_photograph_too_large_for_the_memory_is_left_out(
    capsys: pytest.CaptureFixture[str], of_gpu: bool
) -> None:
    def correct(image: Tensor) -> Tensor:
        if image.shape[-1] > 20:
            if of_gpu:
                raise torch.OutOfMemoryError
            torch.empty(1 << 60)  # the system's memory runs out with an error of no class of its own
        return 1 - image

    photos = [photograph(f"{name}.png", 8, width) for name, width in (("a", 30), ("b", 8))]
    method = Method("inverse", torch.device("cpu"), correct)
    assert write_results(method, plan_results(photos, Path("out"))) == 1
    assert files("out") == {"b.png"}
    assert torch.equal(read_photo("out/b.png"), 255 - read_photo("b.png"))
    assert "a.png: does not fit into the memory of cpu" in capsys.readouterr().err


def test_wrong_input_is_refused_in_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    photograph("a.png")
    Path("empty").mkdir()
    Path("file").touch()
    assert "absent.png: no such" in refusal(capsys, "a.png", "absent.png", "-o", "out")
    assert "empty: no photographs" in refusal(capsys, "empty", "-o", "out")
    for output in ("file", "file/out"):
        assert f"{output}/a.png: " in refusal(capsys, "a.png", "-o", output)
    Path("full/a.png").mkdir(parents=True)
    assert "is a folder" in refusal(capsys, "a.png", "-o", "full", "--force")
    WEIGHTS.write_bytes(b"no weights")
    assert "weights.safetensors: can't be read" in refusal(capsys, "a.png", "-o", "out")
    assert not Path("out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    photograph("a.png")
    assert main(["enhance", "a.png", "-o", "out", "--weights", str(WEIGHTS), "--device", "cuda"]) == 2
    assert "--device cpu" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_with_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    photos = [photograph("a.png"), photograph("b.png")]
    assert run(photos[0], "-o", "out") == 0
    first = Path("out/a.png").stat()
    capsys.readouterr()
    assert run(*photos, "-o", "out", "--resume") == 0
    assert capsys.readouterr().out == "out: 1 photograph enhanced, 1 skipped that had a result\n"
    assert Path("out/a.png").stat() == first
    assert run(*photos, "-o", "out", "--resume") == 0
    assert capsys.readouterr().out == "out: 0 photographs enhanced, 2 skipped that had a result\n"


def test_options_reach_the_files(network: torch.nn.Module) -> None:
    photo = photograph("in/a.png", 32, 32)
    assert run("in/*.png", "-o", "full") == 0
    assert run("in/*.png", "-o", "half", "--strength", "0.5", "--compare") == 0
    assert files("half") == {"a.png", "a-compare.png"}
    before, full, half = (read_photo(path).float() for path in (photo, "full/a.png", "half/a.png"))
    assert ((before + full) / 2 - half).abs().max() <= 1
    for quality in ("10", "95"):
        assert run(photo, "-o", quality, "--format", "webp", "--quality", quality) == 0
    assert Path("10/a.webp").stat().st_size < Path("95/a.webp").stat().st_size
    assert run(photo, "-o", "small", "--max-pixels", 1023) == 1


def test_numbers_out_of_range_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    photograph("a.png")
    for option, number in (
        ("--strength", "1.5"),
        ("--strength", "nan"),
        ("--quality", "0"),
        ("--quality", "101"),
        ("--max-pixels", "0"),
    ):
        assert f"{option} {number}: give a number" in refusal(capsys, "a.png", "-o", "out", option, number)
    assert "no result is a JPEG or WebP" in refusal(capsys, "a.png", "-o", "out", "--quality", "90")
    assert not Path("out").exists()
