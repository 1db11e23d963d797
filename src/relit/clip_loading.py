"""Where a frozen CLIP comes from: the embedded weights, a tag of open_clip, or a local file.

OpenAI's weights were trained with QuickGELU. Loaded into a model with GELU they give features that look plausible and are wrong, so
nothing is assumed: a tag says which activation it needs, and a local file must show it (its format, a configuration beside it, the
model's name) or the user must.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from relit.clip import ClipIdentity, FrozenClip
from relit.errors import ConfigurationError
from relit.tiny_clip import architecture as tiny

EMBEDDED_FILE = "tiny_clip.safetensors"


def load_clip(
    model: str, pretrained: str, quick_gelu: bool | None = None, antialias: bool = True
) -> FrozenClip:
    """Load a CLIP and freeze it.

    Args:
        model: a model of open_clip (``ViT-B-32``, ``RN101``), or an embedded tower (``tiny-ViT``, ``tiny-ResNet``).
        pretrained: ``embedded``, a tag of open_clip (``openai``), or the path of a local file; for the embedded towers also the
            path of a ``tiny_clip.safetensors`` that you trained.
        quick_gelu: the activation a local file was trained with, where the file cannot show it.
        antialias: smooth before reducing images to the tower's size.

    Raises:
        ConfigurationError: unknown model or tag, weights that cannot be reached or do not fit, or an activation that is
            contradicted or unknown.
    """
    if model in tiny.VISION:
        return _embedded(model, pretrained, antialias)
    if model not in open_clip.list_models():
        raise ConfigurationError(
            f"clip: unknown model {model!r}. Embedded towers: {', '.join(tiny.VISION)}; for open_clip's "
            "models see open_clip.list_models(), e.g. ViT-B-32, RN101."
        )
    if Path(pretrained).is_file():
        network = _from_file(model, Path(pretrained), quick_gelu)
    elif open_clip.get_pretrained_cfg(model, pretrained):
        network = _from_tag(model, pretrained)
    else:
        raise ConfigurationError(
            f"clip: {pretrained!r} is neither a file nor a tag of {model}. Tags: "
            f"{', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'}. Without weights at hand use clip=tiny."
        )
    source = Path(pretrained).name if Path(pretrained).is_file() else pretrained
    return FrozenClip(
        network,
        open_clip.get_tokenizer(model),
        ClipIdentity(model, source, _digest(network)),
        network.visual.image_mean,
        network.visual.image_std,
        antialias,
    )


def _embedded(tower: str, pretrained: str, antialias: bool) -> FrozenClip:
    path = Path(str(files("relit.assets"))) / EMBEDDED_FILE if pretrained == "embedded" else Path(pretrained)
    if not path.is_file():
        raise ConfigurationError(
            f"clip: no weights of {tower} at {path}. Use pretrained=embedded, or train them: "
            "python train.py experiment=tiny_clip."
        )
    model = tiny.build(tower)
    _fit(
        model,
        {name: tensor.float() for name, tensor in tiny.split_weights(load_file(path), tower).items()},
        path,
    )
    identity = ClipIdentity(tower, "embedded" if pretrained == "embedded" else path.name, _digest(model))
    return FrozenClip(model, tiny.tokenizer(), identity, tiny.IMAGE_MEAN, tiny.IMAGE_STD, antialias)


def _from_tag(model: str, tag: str) -> Any:
    config = open_clip.get_pretrained_cfg(model, tag)
    try:
        return open_clip.create_model(model, pretrained=tag, force_quick_gelu=bool(config.get("quick_gelu")))
    except Exception as error:  # whatever the hub, the network or the cache raises, the remedy is the same
        where = config.get("hf_hub") or config.get("url")
        raise ConfigurationError(
            f"clip: could not fetch {model} '{tag}' from {where}: {type(error).__name__}: {error}\n"
            "Fetch that file on a machine with access, copy it here, and set the node's pretrained=/path/to/file "
            "(clip.prompts.pretrained, clip.identity.pretrained); or set clip=tiny, which needs no download."
        ) from error


def _from_file(model: str, path: Path, quick_gelu: bool | None) -> Any:
    shown = _shown_activation(model, path)
    if shown is None and quick_gelu is None:
        raise ConfigurationError(
            f"clip: nothing in {path} tells which activation its weights were trained with, and the wrong one silently gives wrong "
            "features. Set quick_gelu: true (all of OpenAI's weights, DFN) or false (LAION, DataComp) on this clip node, or use "
            f"the model name {model}-quickgelu."
        )
    if shown is not None and quick_gelu is not None and shown != quick_gelu:
        raise ConfigurationError(
            f"clip: quick_gelu={str(quick_gelu).lower()} contradicts {path} with model {model}, which needs "
            f"quick_gelu={str(shown).lower()}. Leave quick_gelu unset."
        )
    activation = quick_gelu if shown is None else shown
    network = open_clip.create_model(model, pretrained=None, force_quick_gelu=bool(activation))
    try:
        state = _read(path)
    except Exception as error:
        raise ConfigurationError(f"clip: cannot read {path}: {type(error).__name__}: {error}") from error
    _fit(network, state, path)
    return network.float()


def _shown_activation(model: str, path: Path) -> bool | None:
    """Whether model name, neighbouring configuration or file format show QuickGELU (True), GELU (False) or nothing (None)."""
    beside = path.with_name("open_clip_config.json")
    if beside.is_file():
        return bool(json.loads(beside.read_text())["model_cfg"].get("quick_gelu", False))
    if _is_torchscript(path):  # only OpenAI published CLIP in this format
        return True
    return True if "quickgelu" in model.lower() else None


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, a TorchScript archive or a plain checkpoint; nothing is unpickled but tensors."""
    if path.suffix == ".safetensors":
        return load_file(path)
    if _is_torchscript(path):
        state: Any = torch.jit.load(path, map_location="cpu").state_dict()
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    unwanted = {"input_resolution", "context_length", "vocab_size"}
    return {
        name.removeprefix("module."): tensor.float() for name, tensor in state.items() if name not in unwanted
    }


def _fit(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[:4]
        raise ConfigurationError(
            f"clip: {path} does not fit the model: {' '.join(line.strip() for line in first)}"
        ) from error


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
