"""Where a frozen CLIP comes from: the embedded weights, a tag of open_clip, or a local file.

OpenAI's weights were trained with QuickGELU. Loaded into a model with GELU they give features that look
plausible and are wrong, so nothing is assumed: a tag says which activation it needs, and a local file must
show it (its format, a configuration beside it, the model's name) or the user must.
"""

from __future__ import annotations

import json
import textwrap
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
from relit.hub import check_reach, page_of
from relit.tiny_clip import architecture as tiny
from relit.weights import mismatch

EMBEDDED_FILE = "tiny_clip.safetensors"


def load_clip(
    model: str, pretrained: str, quick_gelu: bool | None = None, antialias: bool = True
) -> FrozenClip:
    """Load a CLIP and freeze it.

    Args:
        model: a model of open_clip (``ViT-B-32``, ``RN101``), or an embedded tower (``tiny-ViT``,
            ``tiny-ResNet``).
        pretrained: ``embedded``, a tag of open_clip (``openai``), or the path of a local file; for the
            embedded towers also the path of a ``tiny_clip.safetensors`` that you trained.
        quick_gelu: the activation a local file was trained with, where the file cannot show it.
        antialias: smooth before reducing images to the tower's size.

    Raises:
        ConfigurationError: unknown model or tag, weights that cannot be reached or do not fit, or an
            activation that is contradicted or unknown.
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
            f"{', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'}. "
            "Without weights at hand use clip=tiny, for CLIP-RestoreX clip=tiny_prior."
        )
    _check_text_tower(network, model)
    source = Path(pretrained).name if Path(pretrained).is_file() else pretrained
    return FrozenClip(
        network,
        UncutTokenizer(open_clip.get_tokenizer(model)),
        ClipIdentity.of(network, model, source),
        network.visual.image_mean,
        network.visual.image_std,
        antialias,
    )


class UncutTokenizer:
    """A tokenizer of open_clip that refuses texts that are too long; left alone it cuts them silently.

    Args:
        tokenizer: with a ``context_length`` that a call may override.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts: list[str]) -> Tensor:
        """Tokens, int64 (P, context length).

        Raises:
            ConfigurationError: a text with its start and end has more tokens than the context length.
        """
        limit = self.tokenizer.context_length
        room = max([limit, *(len(text.encode()) + 2 for text in texts)])  # no token is shorter than a byte
        tokens: Tensor = self.tokenizer(texts, context_length=room)
        for text, end in zip(texts, tokens.argmax(-1).tolist(), strict=True):
            if end >= limit:
                raise ConfigurationError(
                    f"{textwrap.shorten(text, 100)!r} has {end + 1} tokens with start and end; this CLIP "
                    f"takes at most {limit}. Shorten it."
                )
        return tokens[:, :limit]


def _embedded(tower: str, pretrained: str, antialias: bool) -> FrozenClip:
    path = Path(str(files("relit.assets"))) / EMBEDDED_FILE if pretrained == "embedded" else Path(pretrained)
    if not path.is_file():
        raise ConfigurationError(
            f"clip: no weights of {tower} at {path}. Use pretrained=embedded, or train them: "
            "python train.py experiment=tiny_clip."
        )
    model = tiny.build(tower)
    _fit(model, tiny.split_weights(_read(path), tower), path)
    identity = ClipIdentity.of(model, tower, "embedded" if pretrained == "embedded" else path.name)
    return FrozenClip(model, tiny.tokenizer(), identity, tiny.IMAGE_MEAN, tiny.IMAGE_STD, antialias)


def _from_tag(model: str, tag: str) -> Any:
    config = open_clip.get_pretrained_cfg(model, tag)
    try:
        if config.get("hf_hub"):
            _check_reach(str(config["hf_hub"]))
        return open_clip.create_model(model, pretrained=tag, force_quick_gelu=bool(config.get("quick_gelu")))
    except Exception as error:  # whatever the hub, the network or the cache raises, the remedy is the same
        raise ConfigurationError(
            f"clip: could not fetch {model} '{tag}' from {_source(config)}: {type(error).__name__}: {error}\n"
            "Fetch that file on a machine with access, copy it here, and set the node's "
            "pretrained=/path/to/file (clip.prompts.pretrained, clip.identity.pretrained; for CLIP-RestoreX "
            "clip.prior.pretrained); or set clip=tiny (clip=tiny_prior), which needs no download."
        ) from error


def _source(config: dict[str, Any]) -> str:
    """The page or file that a tag's weights come from, as a browser takes it."""
    hub = str(config.get("hf_hub") or "").strip("/")
    return page_of(hub) if hub else str(config.get("url"))


def _check_reach(hub: str) -> None:
    repository, _, name = hub.rpartition("/")
    names = [name] if name else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    check_reach(repository, names)


def _from_file(model: str, path: Path, quick_gelu: bool | None) -> Any:
    shown = _shown_activation(model, path)
    if shown is None and quick_gelu is None:
        raise ConfigurationError(
            f"clip: nothing in {path} tells which activation its weights were trained with, and the wrong "
            "one silently gives wrong features. Set quick_gelu=true (all of OpenAI's weights, DFN) or false "
            "(LAION, DataComp) on this clip node, such as +clip.prior.quick_gelu=true, or use the model name "
            f"{model}-quickgelu."
        )
    if shown is not None and quick_gelu is not None and shown != quick_gelu:
        raise ConfigurationError(
            f"clip: quick_gelu={str(quick_gelu).lower()} contradicts {path} with model {model}, which needs "
            f"quick_gelu={str(shown).lower()}. Leave quick_gelu unset."
        )
    activation = quick_gelu if shown is None else shown
    network = open_clip.create_model(model, pretrained=None, force_quick_gelu=bool(activation))
    _fit(network, _read(path), path)
    return network.float()


def _shown_activation(model: str, path: Path) -> bool | None:
    """Whether name, neighbouring configuration or format show QuickGELU (True), GELU (False) or nothing."""
    shown = _neighbour_shows(path)
    if open_clip.get_model_config(model).get("quick_gelu", False):
        if shown is False:
            raise ConfigurationError(
                f"clip: {model} has QuickGELU, but the open_clip_config.json beside {path} says that its "
                f"weights were trained without. Set model: {model.removesuffix('-quickgelu')}."
            )
        return True
    if shown is None and is_torchscript(path):  # only OpenAI published CLIP in this format
        return True
    return shown


def _neighbour_shows(path: Path) -> bool | None:
    beside = path.with_name("open_clip_config.json")
    if not beside.is_file():
        return None
    try:
        return bool(json.loads(beside.read_text())["model_cfg"].get("quick_gelu", False))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"clip: {beside} is no configuration of open_clip ({error!r}). Mend or remove it."
        ) from error


def is_torchscript(path: Path) -> bool:
    """Whether ``path`` is a TorchScript file, which is code that runs when it is loaded; False of no file."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, TorchScript or a plain checkpoint; nothing but tensors is unpickled."""
    try:
        state = _state(path)
    except Exception as error:  # each format has its own exceptions, and the remedy is the same
        raise ConfigurationError(f"clip: cannot read {path}: {type(error).__name__}: {error}") from error
    unwanted = {"input_resolution", "context_length", "vocab_size"}
    return {
        name.removeprefix("module."): tensor.float() for name, tensor in state.items() if name not in unwanted
    }


def _state(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if is_torchscript(path):
        return torch.jit.load(path, map_location="cpu").state_dict()
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)


def _fit(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    differences = mismatch(model, state)
    if differences:
        raise ConfigurationError(
            f"clip: {path} does not fit the model; tensors: {differences}. Set model to the one it holds."
        )
    model.load_state_dict(state, strict=True)


def _check_text_tower(network: Any, model: str) -> None:
    """Prompts end at EOT, so the tower must be causal and its feature read there."""
    text = getattr(network, "text", network)
    pooling = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
    causal = getattr(text, "attn_mask", None) is not None and getattr(text, "cls_emb", None) is None
    if pooling != "argmax" or not causal:
        raise ConfigurationError(
            f"clip: the text tower of {model} is not causal or is not read at the end of text (SigLIP, "
            "MobileCLIP, CoCa), and prompts need that. Use a CLIP such as ViT-B-32, ViT-L-14 or RN101."
        )
