"""``relit.load`` and what its model makes of pictures of every kind."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from weight_files import ENHANCERS, write_enhancer

import relit
from relit import hub
from relit.clip_lit.network import enhance
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator
from relit.method import Method
from relit.model import Model

WIDTH, HEIGHT = 14, 11


def pixels(*shape: int, top: int = 256) -> np.ndarray:
    return torch.randint(0, top, shape, generator=keyed_generator("pixels")).numpy()


@pytest.fixture
def model(tmp_path: Path) -> Model:
    write_enhancer(tmp_path / "weights.safetensors", ENHANCERS["UNet"])
    return relit.load(tmp_path / "weights.safetensors", "cpu")


@pytest.fixture
def brighter() -> Model:
    """Adds a tenth: what it does to each pixel is plain to see."""
    return Model(Method("brighter", torch.device("cpu"), lambda image: image + 0.1))


def test_three_lines_give_what_the_network_gives(tmp_path: Path) -> None:
    network = write_enhancer(tmp_path / "w.safetensors", ENHANCERS["UNet"])
    photo = Image.fromarray(pixels(HEIGHT, WIDTH, 3).astype(np.uint8))
    out = relit.load(str(tmp_path / "w.safetensors"), "cpu")(photo)
    image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = (enhance(image, network(image))[0] * 255).round().permute(1, 2, 0).numpy()
    assert isinstance(out, Image.Image)
    assert out.mode == "RGB"
    assert np.array_equal(np.asarray(out), expected)
    assert not np.array_equal(np.asarray(out), np.asarray(photo))


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH, 4)])
def test_an_array_comes_back_in_its_own_shape_type_and_range(
    brighter: Model, shape: tuple[int, ...], dtype: Any, top: float
) -> None:
    array = (pixels(*shape, top=201) / 255 * top).astype(dtype)
    out = brighter(array)
    assert (out.shape, out.dtype) == (array.shape, array.dtype)
    colours = (slice(None), slice(None), slice(3)) if len(shape) == 3 else (...,)
    change = (out[colours].astype(float) - array[colours]) / top
    assert np.abs(change - 0.1).max() < 0.6 / (255 if dtype == np.uint8 else 65535)
    if shape[2:] == (4,):
        assert np.array_equal(out[..., 3], array[..., 3])


@pytest.mark.parametrize("shape", [(3, HEIGHT, WIDTH), (2, 3, HEIGHT, WIDTH)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float64, torch.float16])
def test_a_tensor_comes_back_in_its_own_shape_and_type(
    brighter: Model, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    top = 1 if dtype.is_floating_point else torch.iinfo(dtype).max
    tensor = (torch.from_numpy(pixels(*shape, top=201)) / 255 * top).to(dtype)
    out = brighter(tensor)
    assert (out.shape, out.dtype) == (tensor.shape, dtype)
    assert ((out.double() - tensor.double()) / top - 0.1).abs().max() < (3e-3 if top in (1, 255) else 1e-5)


def test_photographs_of_a_batch_do_not_see_each_other(model: Model) -> None:
    batch = torch.rand(3, 3, 12, 17, generator=keyed_generator("batch"))
    assert torch.equal(model(batch)[1], model(batch[1]))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "CMYK"])
def test_an_image_keeps_its_size_its_alpha_and_where_it_can_its_mode(brighter: Model, mode: str) -> None:
    photo = Image.fromarray(pixels(HEIGHT, WIDTH, 4, top=200).astype(np.uint8))
    image = (photo if mode in ("LA", "RGBA") else photo.convert("RGB")).convert(mode)
    out = brighter(image)
    assert out.size == image.size
    assert out.mode == (mode if mode in ("L", "LA", "RGB", "RGBA") else "RGB")
    if mode in ("LA", "RGBA"):
        assert out.getchannel("A").tobytes() == image.getchannel("A").tobytes()


@pytest.mark.parametrize(("mode", "top"), [("I;16", 65535), ("F", 1.0)])
def test_deep_grey_images_are_taken_at_their_own_range(brighter: Model, mode: str, top: float) -> None:
    levels = np.linspace(0, top, 12).reshape(3, 4).astype(np.uint16 if mode == "I;16" else np.float32)
    out = brighter(Image.fromarray(levels))
    assert out.mode == mode
    expected = brighter(levels)
    np.testing.assert_array_equal(np.asarray(out), expected)
    with pytest.raises(TypeError, match="uint16"):
        brighter(Image.new("I", (4, 3)))


def test_an_image_that_exif_says_is_turned_has_an_upright_result(brighter: Model) -> None:
    stored = pixels(HEIGHT, WIDTH, 3, top=200).astype(np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(file, format="png", exif=exif)
    out = brighter(Image.open(file))
    np.testing.assert_array_equal(np.asarray(out), brighter(np.rot90(stored, -1).copy()))
    assert out.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("scale", [255, 65535])
def test_floating_point_pixels_of_another_range_are_refused(brighter: Model, scale: int) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\], found .*divide"):
        brighter(np.full((4, 5, 3), scale, np.float32))
    assert brighter(np.full((4, 5, 3), 1.2, np.float32)).shape == (4, 5, 3)  # an overshoot is clipped


@pytest.mark.parametrize("wrong", [np.zeros((3, 4, 5)), np.zeros(3), torch.zeros(1, 4, 4), torch.zeros(2)])
def test_what_is_no_picture_is_a_value_error(brighter: Model, wrong: np.ndarray | Tensor) -> None:
    with pytest.raises(ValueError, match="expected"):
        brighter(wrong)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.int64), torch.zeros(3, 4, 4, dtype=torch.int32), [1]])
def test_what_holds_no_pixels_is_a_type_error(brighter: Model, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        brighter(wrong)


def test_a_missing_file_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    names = ("runs/mine", "runs/mine/w.safetensors", "other/w.safetensors", "./a/b", "w.safetensors")
    for missing in (tmp_path / "w.safetensors", *names):
        with pytest.raises(ConfigurationError, match="no such weight file"):
            relit.load(missing)


def test_a_name_of_the_hub_is_fetched_from_its_cache_or_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that was fetched before lies in the hub's cache as its client lays it out."""
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"(?s)someone/relit: .*could not be fetched.*Give the path"):
        relit.load("someone/relit")
    with pytest.raises(ConfigurationError, match=r"someone/relit-v1\.5: .*could not be fetched"):
        relit.load("someone/relit-v1.5")
    stored = tmp_path / "models--someone--relit"
    write_enhancer(stored / "snapshots" / "abc" / "weights.safetensors", ENHANCERS["UNet"])
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("abc")
    assert relit.load("someone/relit", "cpu").method.name == "clip_lit"


def test_load_takes_what_the_command_takes(tmp_path: Path) -> None:
    write_enhancer(tmp_path / "w.safetensors", ENHANCERS["UNet"])
    picture = torch.rand(3, 40, 700)
    whole, tiled, fast, reduced = (
        relit.load(tmp_path / "w.safetensors", "cpu", **options)(picture)
        for options in ({}, {"tile": 64}, {"fast": True}, {"precision": "bf16"})
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    assert not torch.equal(fast, whole)
    assert not torch.equal(reduced, whole)
    torch.testing.assert_close(reduced, whole, rtol=0, atol=0.02)


def test_importing_relit_does_not_import_torch() -> None:
    code = "import relit, sys; assert 'torch' not in sys.modules; assert 'load' in relit.__all__"
    subprocess.run([sys.executable, "-c", code], check=True)
