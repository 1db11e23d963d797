"""What is done with a trained embedded CLIP: save its weights, measure how well it tells exposures apart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import Tensor

from relit.atomic import atomic_write
from relit.clip_loading import EMBEDDED_FILE, load_clip
from relit.data.photographs import photographs
from relit.data.synthesis import expose, quantise, sensor, to_srgb
from relit.keyed import keyed_generator
from relit.tiny_clip.architecture import IMAGE_SIZE, VISION
from relit.tiny_clip.scenes import photo_crop

if TYPE_CHECKING:
    from relit.run_context import RunContext

log = logging.getLogger(__name__)

EXPOSURES = {"underexposed": (-3.0, -1.5), "well exposed": (-0.35, 0.35), "overexposed": (1.1, 2.0)}
"""What is told apart, as phrases, and the stops of the pictures that are."""
CROPS = 24


def save_embedded(context: RunContext) -> None:
    """Write ``tiny_clip.safetensors``, which ``load_clip("tiny-ViT", pretrained=PATH)`` takes."""
    if context.rank != 0 or not context.trained:
        return
    path = context.run_dir / EMBEDDED_FILE
    atomic_write(path, save(context.weights["tiny_clip"]))
    log.info("Weights: %s", path)


def evaluate(context: RunContext) -> dict[str, float]:
    """Zero-shot balanced accuracy of each tower at telling :data:`EXPOSURES` apart on scenes it never saw.

    Returns:
        ``balanced_accuracy`` (the worse tower's) and one value per tower.
    """
    if context.rank != 0:
        return {}
    images, labels = unseen_exposures()
    found: dict[str, float] = {}
    for tower in VISION:
        clip = load_clip(tower, str(context.run_dir / EMBEDDED_FILE))
        with torch.no_grad():
            guessed = (clip.encode_image(images) @ clip.encode_text(list(EXPOSURES)).T).argmax(1)
        per_class = [(guessed[labels == c] == c).float().mean() for c in range(len(EXPOSURES))]
        found[tower] = float(torch.stack(per_class).mean())
        log.info(
            "%s tells under-, well- and overexposed apart: "
            "%.1f %% balanced accuracy on %d pictures of unseen scenes",
            tower,
            100 * found[tower],
            len(images),
        )
    return {"balanced_accuracy": min(found.values()), **found}


def unseen_exposures() -> tuple[Tensor, Tensor]:
    """Crops of the sample data's test scenes at drawn exposures.

    Returns:
        sRGB (N, 3, S, S) in [0, 1], and classes, int64 (N,).
    """
    images: list[Tensor] = []
    labels: list[int] = []
    for source in photographs("test"):
        for i in range(CROPS):
            generator = keyed_generator("tiny_clip", "test", source.name, i)
            linear = photo_crop(source, IMAGE_SIZE, generator).float()
            for label, (low, high) in enumerate(EXPOSURES.values()):
                ev = low + (high - low) * torch.rand((), generator=generator)
                noise = torch.randn(linear.shape, generator=generator)
                images.append(quantise(to_srgb(sensor(expose(linear, ev), noise))))
                labels.append(label)
    return torch.stack(images), torch.tensor(labels)
