"""Weights that CLIP-LIT and RAVE released as ``.pth``: read without running what such a file may hold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from relit.clip_lit.network import ResidualPPM
from relit.errors import ConfigurationError
from relit.weights import Weights, mismatch

RELEASED_NETWORK = {
    "_target_": "relit.clip_lit.network.ResidualPPM",
    "padding": "zeros",
    "initial_map": None,
}
"""The ``network`` node of released weights, as they were trained."""
RELEASED_CLIP = {"model": "ViT-B-32", "source": "openai"}
"""The CLIP of released prompts. A prompt file does not tell its digest."""

_PROMPTS = "embedding_prompt"
_PROMPT_SHAPE = (2, 77, 512)
_LFS_POINTER = b"version https://git-lfs"


def load_released(path: str | Path) -> dict[str, Tensor]:
    """Read a ``.pth`` that CLIP-LIT or RAVE released: tensors by name, without DataParallel's ``module.``.

    Raises:
        ConfigurationError: the file is missing, truncated, or holds anything but named tensors.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ConfigurationError(f"{path}: {what}. Give the path of a released .pth file.")
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ConfigurationError(f"{path}: is a Git LFS pointer, not the weights. Run `git lfs pull`.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in as many ways as there are formats; the remedy is one
        raise ConfigurationError(
            f"{path}: can't be read as released weights: it is truncated, or no .pth file, or holds Python "
            "objects, which are never loaded. Download it again."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ConfigurationError(f"{path}: holds more than named tensors, so these are no released weights.")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def released_weights(paths: Sequence[str | Path]) -> tuple[Weights, dict[str, Any]]:
    """Read released files into one: at most one enhancer and one prompt pair.

    Args:
        paths: checkpoints of the released network, and prompt pairs. A prompt file may also hold the text
            tower, as the released ones do.

    Returns:
        Groups ``enhancer`` and ``prompts``, those that were found, and the metadata that
        :func:`relit.clip_lit.results.save_weights` writes, as far as it is known: ``method``, ``network``
        (None without an enhancer), ``clip``; and ``imported_from``, names and digests of the files.

    Raises:
        ConfigurationError: a file can't be read, holds something else, or what another one holds.
    """
    weights: Weights = {}
    origins: dict[str, str | Path] = {}
    for path in paths:
        group, tensors = _recognised(load_released(path), path)
        if group in weights:
            raise ConfigurationError(
                f"{path}: holds {_CALLED[group]}, and so does {origins[group]}. Import them into two files."
            )
        weights[group], origins[group] = tensors, path
    metadata = {
        "method": "clip_lit",
        "network": RELEASED_NETWORK if "enhancer" in weights else None,
        "clip": {"prompts": RELEASED_CLIP} if "prompts" in weights else {},
        "imported_from": [{"file": Path(path).name, "sha256": _sha256(path)} for path in paths],
    }
    return weights, metadata


_CALLED = {"enhancer": "an enhancer", "prompts": "a prompt pair"}


def _recognised(state: dict[str, Tensor], path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """The group that ``state`` belongs to, and its tensors as that group names them."""
    if _PROMPTS in state:
        shape = tuple(state[_PROMPTS].shape)
        if shape != _PROMPT_SHAPE:
            raise ConfigurationError(
                f"{path}: holds prompts of shape {shape}; released ones, two of 77 tokens for OpenAI's "
                f"ViT-B/32, have {_PROMPT_SHAPE}."
            )
        return "prompts", {"embeddings": state[_PROMPTS].float()}
    with torch.device("meta"):
        network = ResidualPPM()
    differences = mismatch(network, state)
    if differences:
        raise ConfigurationError(
            f"{path}: holds weights of another network; tensors: {differences}. Known are ResidualPPM, the "
            f"network of CLIP-LIT and RAVE, and prompt pairs ({_PROMPTS!r})."
        )
    return "enhancer", state


def _sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
