"""What the embedded CLIP talks about: exposure, direction of light, contrast, colour and sharpness.

A picture has one class on every axis; a caption names classes on some of them. A caption is true of a picture
when every class it names is the picture's. That relation, not identity, decides which pairs of a batch are
positive.
"""

from __future__ import annotations

import torch
from torch import Tensor

AXES: dict[str, tuple[tuple[str, ...], ...]] = {
    "exposure": (
        ("very dark", "severely underexposed", "nearly black"),
        ("dark", "underexposed", "dim"),
        ("slightly dark", "slightly underexposed"),
        ("well lit", "well exposed", "normal light", "correctly exposed"),
        ("slightly bright", "slightly overexposed"),
        ("bright", "overexposed", "washed out"),
        ("very bright", "severely overexposed", "blown out"),
    ),
    "light": (
        ("evenly lit", "even light", "front light"),
        ("backlit", "back light", "against the light", "unevenly lit"),
    ),
    "contrast": (
        ("low contrast", "flat", "hazy"),
        ("normal contrast",),
        ("high contrast", "harsh"),
    ),
    "colour": (
        ("warm", "reddish", "yellowish"),
        ("natural colour", "neutral"),
        ("cold", "bluish"),
        ("grey", "black and white", "colourless"),
        ("vivid", "colourful", "saturated"),
    ),
    "sharpness": (
        ("sharp", "clear", "in focus"),
        ("blurry", "out of focus"),
        ("noisy", "grainy"),
    ),
}
"""Per axis, per class: phrases of equal meaning."""

TEMPLATES = ("a photo", "an image", "a picture", "a photo of a scene", "")
UNNAMED = -1
"""Class of an axis that a caption leaves open."""


def caption(classes: Tensor, generator: torch.Generator) -> tuple[str, Tensor]:
    """Describe a picture by one to three of its axes, exposure among them in two of three captions.

    Args:
        classes: int64 (A,), the picture's class on every axis of :data:`AXES`.
        generator: where template, axes, order and wording are drawn.

    Returns:
        the caption and the classes it names, int64 (A,), :data:`UNNAMED` where it names none.
    """
    count = int(torch.randint(1, 4, (), generator=generator))
    order = torch.randperm(len(AXES), generator=generator).tolist()
    if torch.rand((), generator=generator) < 2 / 3:
        order = [0, *(axis for axis in order if axis)]
    chosen = [order[i] for i in torch.randperm(count, generator=generator).tolist()]
    named = torch.full_like(classes, UNNAMED)
    named[chosen] = classes[chosen]
    template = TEMPLATES[int(torch.randint(len(TEMPLATES), (), generator=generator))]
    phrases = [_wording(axis, int(classes[axis]), generator) for axis in chosen]
    return " ".join([template, *phrases]).strip(), named


def true_of(pictures: Tensor, captions: Tensor) -> Tensor:
    """Which caption is true of which picture: bool (B, C) from classes (B, A) and named classes (C, A)."""
    same = captions[None] == pictures[:, None]
    return (same | (captions[None] == UNNAMED)).all(-1)


def vocabulary() -> list[str]:
    """Every word of the captions and of common light prompts, sorted."""
    extra = ("x", "the", "and", "or", "with", "not", "exposure", "good", "bad")
    phrases = [phrase for axis in AXES.values() for words in axis for phrase in words]
    return sorted({word for phrase in [*phrases, *TEMPLATES] for word in phrase.split()} | set(extra))


def _wording(axis: int, cls: int, generator: torch.Generator) -> str:
    phrases = list(AXES.values())[axis][cls]
    return phrases[int(torch.randint(len(phrases), (), generator=generator))]
