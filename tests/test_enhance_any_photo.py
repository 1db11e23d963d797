"""Whatever is fed to ``relit enhance``: size, depth, alpha and grey of each photograph come out again."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_files import TURNS, levels, stored_pixels, write_deep
from PIL import Image
from weight_files import ENHANCERS, write_enhancer

from relit.cli import main
from relit.enhance_plan import plan_results
from relit.enhance_run import Settings, write_results
from relit.method import Method

EXTENSIONS = {
    "1": ("png", "tif", "bmp"),
    "L": ("jpg", "png", "tif", "webp", "bmp"),
    "LA": ("png", "tif", "webp"),
    "P": ("png", "tif", "bmp"),
    "RGB": ("jpg", "png", "tif", "webp", "bmp"),
    "RGBA": ("png", "tif", "webp"),
    "CMYK": ("jpg", "tif"),
    "L;16": ("png", "tif"),
    "LA;16": ("png",),
    "RGB;16": ("png", "tif"),
    "RGBA;16": ("png", "tif"),
}


@dataclass(frozen=True)
class Drawn:
    """A photograph to be written: its kind, stored size, and orientation."""

    mode: str
    extension: str
    height: int
    width: int
    orientation: int
    seed: int

    @property
    def is_deep(self) -> bool:
        return self.mode.endswith(";16")

    @property
    def is_grey(self) -> bool:
        return self.mode in ("1", "L", "LA", "L;16", "LA;16") and self.extension not in ("webp", "bmp")

    @property
    def turned(self) -> int:
        """The orientation that its file can tell."""
        tells = not self.is_deep or self.extension == "tif"
        return self.orientation if tells and self.extension != "bmp" else 1

    @property
    def pixels(self) -> np.ndarray:
        channels = len(self.mode.removesuffix(";16"))
        return levels((self.height, self.width, channels), np.uint16 if self.is_deep else np.uint8, self.seed)

    def write(self, path: Path) -> None:
        if self.is_deep:
            write_deep(path, self.pixels, self.turned)
            return
        options: dict[str, Any] = {"exact": True} if self.extension == "webp" else {}
        if self.turned != 1:
            exif = Image.Exif()
            exif[0x0112] = self.turned
            options["exif"] = exif
        self.image().save(path, **options)

    def image(self) -> Image.Image:
        size = (self.width, self.height)
        if self.mode == "1":
            return Image.frombytes("L", size, self.pixels.tobytes()).convert("1")
        image = Image.frombytes(self.mode, size, self.pixels.tobytes())
        if self.mode == "P":
            image.putpalette(levels((768,), np.uint8, self.seed).tobytes())
        return image

    def check(self, result: Path) -> None:
        upright = TURNS[self.turned](self.pixels)
        with Image.open(result) as image:
            assert image.size == upright.shape[1::-1]
            assert image.getexif().get(0x0112, 1) == 1
        assert result.suffix == (".png" if self.extension == "bmp" else f".{self.extension}")
        if self.extension == "jpg":
            return
        pixels = stored_pixels(result)
        assert pixels.dtype == (np.uint16 if self.is_deep else np.uint8)
        if "A" in self.mode:
            assert np.array_equal(pixels[..., -1], upright[..., -1])
        if self.is_grey:
            assert pixels.shape[2] == 1 + ("A" in self.mode)


@st.composite
def photographs(draw: st.DrawFn) -> Drawn:
    mode = draw(st.sampled_from(sorted(EXTENSIONS)))
    side = st.integers(1, 40)
    extension = draw(st.sampled_from(EXTENSIONS[mode]))
    return Drawn(mode, extension, draw(side), draw(side), draw(st.integers(1, 8)), draw(st.integers(0, 99)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    write_enhancer(path, ENHANCERS["UNet"])
    return path


# several photographs in one call of the command, which has to read the weights each time
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(drawn=st.lists(photographs(), min_size=4, max_size=12))
def test_any_photograph_keeps_what_is_not_its_light(weights: Path, drawn: list[Drawn]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "in").mkdir()
        for number, photo in enumerate(drawn):
            photo.write(folder / "in" / f"{number}.{photo.extension}")
        options = ["-o", str(folder / "out"), "--weights", str(weights), "--device", "cpu"]
        assert main(["enhance", str(folder / "in"), *options]) == 0
        for number, photo in enumerate(drawn):
            (result,) = (folder / "out").glob(f"{number}.*")
            photo.check(result)
    finally:
        shutil.rmtree(folder)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    photo=photographs(),
    cut=st.floats(0, 1),
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3))),
)
def test_damaged_files_are_left_out_or_give_a_whole_result(
    photo: Drawn, cut: float, damage: list[tuple[float, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.{photo.extension}")
        photo.write(path)
        content = bytearray(path.read_bytes())
        for place, foreign in damage:
            start = int(place * len(content))
            content[start : start + len(foreign)] = foreign
        if cut < 0.5:
            del content[int(2 * cut * len(content)) :]
        path.write_bytes(content)
        (planned,) = plan_results([path], Path(folder, "out"))
        method = Method("inverse", torch.device("cpu"), lambda image: 1 - image)
        left_out = write_results(method, [planned], Settings(max_pixels=10_000))
        assert planned.result.exists() == (left_out == 0)
        if left_out == 0:
            with Image.open(planned.result) as image:
                image.load()
