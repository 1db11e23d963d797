"""Weight files: named groups of tensors and what must be known to use them, in one safetensors file.

Nothing is ever unpickled, so a weight file from a stranger can't run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from relit.atomic import atomic_write
from relit.errors import ConfigurationError

WEIGHTS_FILE = "weights.safetensors"
"""Name of a weight file in a run's directory, and in a stage's."""

Weights = dict[str, dict[str, Tensor]]
"""Groups of tensors by name, such as ``{"enhancer": {"cond1.weight": ...}, "prompts": {"embeddings":
...}}``.
"""

_METADATA = "relit"


def write_weights(
    path: str | Path, tensors: Mapping[str, Mapping[str, Tensor]], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write ``tensors`` to ``path`` atomically, as safetensors with keys such as ``enhancer/cond1.weight``.

    Equal tensors and metadata give equal bytes. A group without tensors leaves no trace in the file.

    Args:
        path: the file to write; an older one is replaced in one step.
        tensors: groups by name; each group maps tensor names to tensors of any device. Group names hold no
            ``/``.
        metadata: anything JSON can hold.

    Raises:
        ValueError: a group name contains ``/``.
        DiskFull: the file does not fit on the disk.
    """
    flat: dict[str, Tensor] = {}
    for group, members in tensors.items():
        if "/" in group:
            raise ValueError(f"the group name {group!r} must not contain '/'")
        for name, tensor in members.items():
            # A clone, because safetensors refuses tensors that share memory (tied weights, slices of one
            # buffer).
            flat[f"{group}/{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    # One metadata entry: safetensors writes several in an order that differs from process to process.
    atomic_write(path, save(flat, {_METADATA: json.dumps(dict(metadata or {}), sort_keys=True)}))


def read_weights(path: str | Path) -> tuple[Weights, dict[str, Any]]:
    """Read a file of :func:`write_weights`: the groups of CPU tensors, and the metadata.

    Raises:
        ConfigurationError: ``path`` is missing, truncated, or no weight file of Relit.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigurationError(f"{path}: is a folder. Give the file in it, such as {path / WEIGHTS_FILE}.")
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such weight file. Give the path of a weights.safetensors.")
    groups: Weights = {}
    try:
        with safe_open(str(path), framework="pt") as file:
            entries = file.metadata() or {}
            for key in sorted(file.keys()):
                group, separator, name = key.partition("/")
                if not separator:
                    raise ConfigurationError(
                        f"{path}: no weight file of Relit (tensor {key!r} has no group)."
                    )
                # A clone, because the tensor given here is a view of the mapped file, which may be replaced.
                groups.setdefault(group, {})[name] = file.get_tensor(key).clone()
        metadata = json.loads(entries[_METADATA])
    except (SafetensorError, OSError) as error:
        remedy = "It is truncated or no safetensors file; copy or train it again."
        raise ConfigurationError(f"{path}: can't be read as weights ({error}). {remedy}") from error
    except (KeyError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"{path}: no weight file of Relit (its metadata is missing).") from error
    return groups, metadata


def mismatch(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """How ``state`` differs from what ``network`` holds: counts, and the first tensor of each kind.

    Returns:
        Such as ``1 missing (first: cond1.bias), 2 unexpected (first: a.weight)``; empty where it fits.
    """
    expected = network.state_dict()
    differences = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "misshapen": [
            f"{name} is {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    return ", ".join(
        f"{len(found)} {kind} (first: {found[0]})" for kind, found in differences.items() if found
    )


def load_network_weights(network: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load ``state``, all of it and nothing else, into ``network``.

    Args:
        network: its tensors are replaced.
        state: tensors by name.
        source: where they come from, for the message: a file, or a stage.

    Raises:
        ConfigurationError: a tensor is missing, unexpected or of another shape; ``network`` is unchanged.
    """
    differences = mismatch(network, state)
    if differences:
        raise ConfigurationError(
            f"{source}: the weights do not fit {type(network).__name__}; tensors: {differences}. "
            "Set network to the one they were trained with, or give other weights."
        )
    network.load_state_dict(dict(state), strict=True)
