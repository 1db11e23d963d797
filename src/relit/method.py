"""A trained method as it is used: a weight file made into a function from photographs to results."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.errors import InstantiationException
from torch import Tensor, nn

from relit.errors import ConfigurationError
from relit.targets import resolve_target
from relit.weights import Weights, read_weights

if TYPE_CHECKING:
    from relit.frozen_tower import FrozenTower

METHODS = ("clip_lit", "clip_restorex")
"""As weight files name them."""

Correct = Callable[[Tensor], Tensor]

PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""What networks may be computed in, by the names that commands give them."""


@dataclass(frozen=True)
class Method:
    """Turns photographs of one size into their results.

    Attributes:
        name: of the method, one of :data:`METHODS`.
        device: where it computes.
        correct: the function itself, on that device.
        precision: of convolutions and products of matrices; what would suffer from less stays in float32.
    """

    name: str
    device: torch.device
    correct: Correct
    precision: torch.dtype = torch.float32

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The results, (B, 3, H, W) in [0, 1] on the CPU, of photographs of the same shape and range."""
        reduced = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision if reduced else None, enabled=reduced):
            return self.correct(images.to(self.device)).float().clamp_(0, 1).cpu()


def load_method(
    weights: str | Path,
    device: torch.device,
    clip: FrozenTower | Path | None = None,
    *,
    tile: int | None = None,
    fast: bool = False,
    precision: str = "32",
) -> Method:
    """The method that a weight file holds, ready for use.

    Args:
        weights: a ``weights.safetensors`` of a run directory, or of ``relit import``. Nothing in it is run:
            of what it names only Relit's own networks are built.
        device: where to compute.
        clip: the CLIP that CLIP-RestoreX's priors were trained with, or the file of its weights; None loads
            the one that the file names.
        tile: pixels that large photographs are computed in: the side of CLIP-LIT's tiles, the rows of
            CLIP-RestoreX's strips. The result is the same up to rounding. None chooses.
        fast: CLIP-LIT's map from a reduced photograph, close to the exact one in a fraction of the time.
        precision: one of :data:`PRECISIONS`.

    Raises:
        ConfigurationError: the file can't be read, holds no finished method, or names what is not Relit's; or
            its CLIP is not at hand; or ``tile`` or ``fast`` make no sense.
    """
    if tile is not None and tile < 1:
        raise ConfigurationError(f"--tile {tile}: a tile has at least 1 pixel a side.")
    if tile is not None and fast:
        raise ConfigurationError(
            "--tile with --fast: the reduced photograph is small and needs no tiles. Leave one of them out."
        )
    source = Path(weights)
    if source.suffix in (".pth", ".pt"):
        raise ConfigurationError(
            f"{source}: make a weight file of it first: relit import {source} -o weights.safetensors"
        )
    groups, metadata = read_weights(source)
    name = metadata.get("method") if isinstance(metadata, dict) else None
    if name not in METHODS:
        raise ConfigurationError(
            f"{source}: holds {'no finished method' if name is None else f'the method {name!r}'}; known are "
            f"{', '.join(METHODS)}. Give the weights.safetensors of a finished run's directory, not of one "
            "of its stages."
        )
    if fast and name != "clip_lit":
        raise ConfigurationError(
            f"{source}: --fast is for CLIP-LIT, whose illumination map can come from a reduced photograph. "
            "CLIP-RestoreX computes every pixel of the result itself. Leave --fast out."
        )
    if clip is not None and name == "clip_lit":
        raise ConfigurationError(
            f"{source}: --clip is for CLIP-RestoreX; CLIP-LIT needs no CLIP once it is trained. Leave it out."
        )
    check_network(metadata.get("network"), source)
    try:
        if name == "clip_lit":
            correct = _load_enhancement(groups, metadata, source, device, tile, fast)
        else:
            correct = _load_correction(groups, metadata, source, device, clip, tile)
        return Method(name, device, correct, PRECISIONS[precision])
    except (InstantiationException, AttributeError, KeyError, TypeError) as error:
        # a keyword that was renamed since, or metadata that was written by hand
        reason = str(error).splitlines()[-1] if isinstance(error, InstantiationException) else repr(error)
        raise ConfigurationError(
            f"{source}: its metadata is not what this version of Relit builds a {name} from: {reason}. Train "
            "it again."
        ) from error


def check_network(node: Any, source: Path) -> None:
    """Refuse a ``network`` node of a weight file that would do more than build networks of Relit.

    Weight files come from strangers. Each ``_target_`` must name a network class that Relit defines: not
    something that one of its modules imports, nor a function of Relit that writes files. Interpolations could
    hide another node.

    Raises:
        ConfigurationError: there is no network, or the node asks for something else.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigurationError(
            f"{source}: holds no network. Give the weights.safetensors of a finished run, or import the "
            "network's .pth file: relit import FILE -o weights.safetensors"
        )
    for key, value in _entries(node):
        if key == "_target_" and not _is_network_of_relit(value):
            raise ConfigurationError(
                f"{source}: its network asks for {value!r}, which is no network of Relit, so nothing of "
                "it is built. Use weights from a source that you trust."
            )
        if isinstance(value, str) and "${" in value:
            raise ConfigurationError(
                f"{source}: its network has the interpolation {value!r}, which no run writes, so nothing of "
                "it is built. Use weights from a source that you trust."
            )


def _entries(node: Any) -> list[tuple[Any, Any]]:
    """Every key and value at any depth; places are the keys of lists."""
    if isinstance(node, Mapping):
        own = list(node.items())
    elif isinstance(node, list):
        own = list(enumerate(node))
    else:
        return []
    return own + [entry for _, value in own for entry in _entries(value)]


def _is_network_of_relit(target: Any) -> bool:
    # resolving imports, so only ever what begins with this name
    if not isinstance(target, str) or not target.startswith("relit."):
        return False
    try:
        found = resolve_target(target)
    except ConfigurationError:
        return False
    return inspect.isclass(found) and issubclass(found, nn.Module) and found.__module__.startswith("relit.")


def _load_correction(
    weights: Weights,
    metadata: Mapping[str, Any],
    source: Path,
    device: torch.device,
    clip: FrozenTower | Path | None,
    rows: int | None,
) -> Correct:
    """CLIP-RestoreX with the priors of a photograph."""
    from relit.clip_restorex.correction import load_correction

    return load_correction(weights, metadata, source, device, clip, rows)


def _load_enhancement(
    weights: Weights,
    metadata: Mapping[str, Any],
    source: Path,
    device: torch.device,
    tile: int | None,
    fast: bool,
) -> Correct:
    """What CLIP-LIT makes of a photograph by the map of the trained network."""
    from relit.clip_lit.enhancement import load_enhancement

    return load_enhancement(weights, metadata, source, device, tile, fast)
