"""Trained weights in three lines of Python: ``load``, and a model that takes whatever holds a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower
from relit.hub import fetch
from relit.method import Method, load_method
from relit.weights import WEIGHTS_FILE

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)
BRIGHTEST = 4
"""Floating-point pixels above it are no overshoot of [0, 1] but counts of another range."""

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")


def load(
    weights: str | Path,
    device: str | None = None,
    clip: FrozenTower | str | Path | None = None,
    *,
    tile: int | None = None,
    fast: bool = False,
    precision: str = "32",
) -> Model:
    """A trained method, ready for pictures.

    Args:
        weights: a weight file of a run or of ``relit import``; or ``owner/name`` of a repository on the
            Hugging Face Hub that holds a ``weights.safetensors``, or ``owner/name/path.safetensors``.
        device: such as ``cpu`` or ``cuda:1``; None takes a GPU where there is one.
        clip: as for :func:`relit.method.load_method`, and so the others.
        tile: side of tiles, or rows of strips, for less memory.
        fast: CLIP-LIT's map from a reduced photograph.
        precision: ``32``, ``bf16`` or ``16``.

    Raises:
        ConfigurationError: there is no such file or repository, or it holds no finished method.
    """
    found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip = Path(clip) if isinstance(clip, str) else clip
    method = load_method(_file(weights), found, clip, tile=tile, fast=fast, precision=precision)
    return Model(method)


class Model:
    """A trained method that takes a picture and gives one of the same kind.

    Args:
        method: that turns float photographs into results.

    Attributes:
        method: the same.
    """

    def __init__(self, method: Method) -> None:
        self.method = method

    def __repr__(self) -> str:
        return f"Model({self.method.name}, {self.method.device})"

    def __call__(self, picture: Picture) -> Picture:
        """The result, of the type, shape and range of ``picture``; pixels are taken for sRGB.

        A Pillow image that its EXIF says is turned has an upright result. A grey picture stays grey: of a
        method that would add colour it gets the mean of the channels.

        Args:
            picture: a Pillow image, whose result is RGB, or of mode L, LA, RGBA, I;16 or F (in [0, 1]) where
                the image is; an array (H, W), (H, W, 3) or (H, W, 4); or a tensor (3, H, W) or (B, 3, H, W).
                Arrays and tensors hold uint8, uint16, or floating-point numbers in [0, 1]. Alpha is given
                back as it is.

        Raises:
            TypeError: it is nothing of these, or of another data type.
            ValueError: it has another shape, or floating-point pixels far above 1.
        """
        if isinstance(picture, Image.Image):
            return self._image(picture)
        if isinstance(picture, np.ndarray):
            return self._array(picture)
        if isinstance(picture, Tensor):
            return self._tensor(picture)
        raise TypeError(f"expected a Pillow image, a numpy array or a tensor, not a {type(picture).__name__}")

    def _image(self, image: Image.Image) -> Image.Image:
        image = ImageOps.exif_transpose(image)
        if image.mode == "I":
            raise TypeError("a Pillow image of mode I has no known range: give it as a uint16 array")
        if image.mode not in ("RGB", "L", "LA", "RGBA", "I;16", "F"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        return Image.fromarray(self._array(np.asarray(image)))

    def _array(self, array: np.ndarray) -> np.ndarray:
        height_width, channels = array.shape[:2], array.shape[2:]
        if array.ndim not in (2, 3) or channels not in ((), (2,), (3,), (4,)):
            raise ValueError(f"expected (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
        layers = array.reshape(*height_width, -1)
        colours = 3 if layers.shape[2] > 2 else 1
        pixels = torch.from_numpy(layers[..., :colours].copy()).permute(2, 0, 1)
        result = self._tensor(pixels.expand(3, -1, -1))
        if colours == 1:
            result = _like(_unit(result).mean(dim=0, keepdim=True), pixels)
        found = result.permute(1, 2, 0).cpu().numpy()
        return np.concatenate([found, layers[..., colours:]], axis=2).reshape(array.shape)

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3:
            raise ValueError(f"expected (3, H, W) or (B, 3, H, W), not {tuple(tensor.shape)}")
        batch = tensor if tensor.ndim == 4 else tensor[None]
        # one after the other: priors of a photograph are its own, and memory stays that of one
        results = torch.cat([self.method(_unit(one[None])) for one in batch])
        return _like(results if tensor.ndim == 4 else results[0], tensor)


def _unit(pixels: Tensor) -> Tensor:
    """Pixels of any accepted type in [0, 1], float32."""
    if pixels.is_floating_point():
        if pixels.numel() and (top := float(pixels.max())) > BRIGHTEST:
            raise ValueError(
                f"expected floating-point pixels in [0, 1], found {top:g}: divide by 255, or by 65535"
            )
        return pixels.float()
    if pixels.dtype not in (torch.uint8, torch.uint16):
        raise TypeError(f"expected uint8, uint16 or floating-point pixels in [0, 1], not {pixels.dtype}")
    return pixels.float() / torch.iinfo(pixels.dtype).max


def _like(result: Tensor, pixels: Tensor) -> Tensor:
    """A result in [0, 1] in the type and on the device of ``pixels``."""
    if not pixels.is_floating_point():
        result = (result * torch.iinfo(pixels.dtype).max).round()
    return result.to(pixels.device, pixels.dtype)


def _file(weights: str | Path) -> Path:
    """The weight file itself, or one of the Hub's, fetched once."""
    parts = str(weights).split("/")
    local = Path(weights)
    named = isinstance(weights, str) and len(parts) >= 2 and all(parts) and not local.is_absolute()
    if local.exists() or not named or parts[0] in (".", "..", "~"):
        return local
    if Path(parts[0]).is_dir() or (len(parts) == 2 and local.suffix in WEIGHT_SUFFIXES):
        return local  # runs/mine/weights.safetensors, which is missing
    repository, name = "/".join(parts[:2]), "/".join(parts[2:]) or WEIGHTS_FILE
    try:
        return fetch(repository, name)
    except Exception as error:  # whatever hub, network or cache raise, the remedy is the same
        raise ConfigurationError(
            f"{weights}: no such file here, and {name} could not be fetched from the Hub's repository "
            f"{repository}: {type(error).__name__}: {error}\nGive the path of a weights.safetensors."
        ) from error
