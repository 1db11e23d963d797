"""A finished run's enhancer and prompts at work on test photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.enhancer_stages import text_features
from relit.clip_lit.losses import negative_similarity
from relit.clip_lit.network import enhance
from relit.clip_lit.scores import bounded
from relit.metrics import round_to_8_bits
from relit.plan import expand_plan
from relit.stages import build
from relit.weights import load_network_weights

if TYPE_CHECKING:
    from relit.data.unpaired import UnpairedPhotos
    from relit.stages import RunContext
    from relit.weights import Weights

Pictures = dict[str, Tensor]
"""``input``, and where they are there ``result`` and ``reference``: (1, 3, H, W) in [0, 1]."""


def enhancer(context: RunContext, weights: Weights) -> torch.nn.Module:
    """The run's network with ``weights``, ready to enhance."""
    network = context.network()
    load_network_weights(network, weights["enhancer"], "the enhancer handed over")
    return network.eval().to(context.device)


@torch.no_grad()
def with_result(network: torch.nn.Module, pictures: Pictures) -> Pictures:
    """``pictures`` and the ``result`` of the input, rounded to 8 bits."""
    image = pictures["input"]
    return {**pictures, "result": round_to_8_bits(enhance(image, network(image)))}


@dataclass(frozen=True)
class Judge:
    """S(I), Eq. (6), under one prompt pair.

    Attributes:
        clip: encodes the pictures.
        text: features (2, D) of the prompts, negative first.
        logit_scale: factor on the cosines.
    """

    clip: FrozenClip
    text: Tensor
    logit_scale: float

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B,) of images (B, 3, H, W) in [0, 1]."""
        return negative_similarity(self.clip.encode_image(images), self.text, self.logit_scale)


def judge(context: RunContext) -> Judge | None:
    """S(I) under the prompts of the run's last stage that has some, learned or fixed; None where none has."""
    planned = expand_plan(context.cfg["plan"])
    modules = [context.cfg["stage"][stage.name]["module"] for stage in planned]
    module = next((module for module in reversed(modules) if "prompts" in module), None)
    if module is None:
        return None
    clip = cast("FrozenClip", context.clip["prompts"]).to(context.device)
    text = text_features(clip, build(module["prompts"]), context.weights)
    return Judge(clip, text, float(module["logit_scale"]))


def photographs_to_judge(context: RunContext, at_least: int) -> tuple[str, Iterator[tuple[str, Pictures]]]:
    """What they are, and name and pictures of each: test pairs, else validation inputs, else training ones.

    Args:
        context: the finished run.
        at_least: how many backlit training photographs to show where there is nothing else.
    """
    photos = cast("UnpairedPhotos", context.datamodule)
    photos.setup("test")
    if photos.test is None and photos.validation is not None:
        held_out = photos.validation
        items = (held_out[i] for i in range(len(held_out)))
        return "validation", (_pictures(item, context.device) for item in items if "input" in item)
    if photos.test is None:
        # one at least, or there would be nothing to report
        count = min(max(at_least, 1), len(photos.backlit))
        return "backlit training photographs, no references", (
            (photos.backlit.names[i], {"input": bounded(photos.backlit[i], context.device)})
            for i in range(count)
        )
    return "test", (_pictures(photos.test[i], context.device) for i in range(len(photos.test)))


def _pictures(pair: Any, device: torch.device) -> tuple[str, Pictures]:
    kinds = [kind for kind in ("input", "reference") if kind in pair]
    return Path(pair["name"]).name, {kind: bounded(pair[kind], device) for kind in kinds}
