"""The embedded CLIP: two image towers over one text tower.

A 12-block ViT (so that blocks 3, 6, 9 and 12 exist) and a ResNet of CLIP's own shape (so that stem and layers
1-4 exist) share one small text tower. Both are open_clip models; this file only gives them sizes and ties the
text towers.
"""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from relit.tiny_clip.attributes import vocabulary
from relit.tiny_clip.tokenizer import WordTokenizer

EMBED_DIM = 128
CONTEXT_LENGTH = 77
IMAGE_SIZE = 128
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)

VISION: dict[str, dict[str, Any]] = {
    "tiny-ViT": {"layers": 12, "width": 96, "head_width": 32, "patch_size": 16, "image_size": IMAGE_SIZE},
    "tiny-ResNet": {"layers": (2, 2, 2, 2), "width": 12, "image_size": IMAGE_SIZE},
}
TEXT = {"context_length": CONTEXT_LENGTH, "width": 96, "heads": 3, "layers": 4}


def tokenizer() -> WordTokenizer:
    """The tokenizer of the embedded CLIP."""
    return WordTokenizer(vocabulary(), CONTEXT_LENGTH)


def build(tower: str) -> open_clip.CLIP:
    """An untrained embedded CLIP with one of the image towers of :data:`VISION`."""
    vision = CLIPVisionCfg(**VISION[tower])
    text = CLIPTextCfg(**TEXT, vocab_size=tokenizer().vocab_size)
    return open_clip.CLIP(EMBED_DIM, vision, text)


def share_text(model: open_clip.CLIP, other: open_clip.CLIP) -> None:
    """Let ``model`` use the text tower of ``other``: the same modules and parameters."""
    for name in ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection"):
        setattr(model, name, getattr(other, name))


def split_weights(weights: dict[str, torch.Tensor], tower: str) -> dict[str, torch.Tensor]:
    """One tower's state dict out of the file that holds both.

    Its keys are ``tiny-ViT/visual...``, ``tiny-ResNet/visual...`` and ``text/...``.
    """
    own = {
        name.removeprefix(f"{tower}/"): tensor
        for name, tensor in weights.items()
        if name.startswith(f"{tower}/")
    }
    text = {
        name.removeprefix("text/"): tensor for name, tensor in weights.items() if name.startswith("text/")
    }
    return own | text


def join_weights(models: dict[str, open_clip.CLIP]) -> dict[str, torch.Tensor]:
    """The inverse of :func:`split_weights`, in half precision; the shared text tower stands once."""
    joined: dict[str, torch.Tensor] = {}
    for tower, model in models.items():
        for name, tensor in model.state_dict().items():
            own = name.startswith("visual.") or name == "logit_scale"
            value = tensor.half() if tensor.is_floating_point() and name != "logit_scale" else tensor
            joined[f"{tower}/{name}" if own else f"text/{name}"] = value.contiguous()
    return joined
