"""A finished run's enhancer and prompts at work on test photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from relit.instantiation import build
from relit.measurement import Figures, Measurement
from relit.metrics import round_to_8_bits
from relit.plan import expand_plan
from relit.run_scores import compared
from relit.weights import load_network_weights

if TYPE_CHECKING:
    from relit.data.unpaired import UnpairedPhotos
    from relit.run_context import RunContext
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
    """``pictures`` and the ``result`` of the input, not rounded yet."""
    image = pictures["input"]
    return {**pictures, "result": enhance(image, network(image))}


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


@dataclass(frozen=True)
class ToJudge:
    """Photographs by index.

    Attributes:
        data: what they are: test pairs, else validation inputs, else training photographs.
        names: of all of them, as pictures are named.
        at: name and pictures of one.
    """

    data: str
    names: Sequence[str]
    at: Callable[[int], tuple[str, Pictures]]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.names)


def photographs_to_judge(context: RunContext, at_least: int) -> ToJudge:
    """Test pairs, else validation inputs, else the first backlit training photographs.

    Args:
        context: the finished run.
        at_least: how many backlit training photographs to show where there is nothing else.
    """
    photos = cast("UnpairedPhotos", context.datamodule)
    photos.setup("test")
    if photos.test is not None:
        test = photos.test
        names = [Path(name).name for name in test.names]
        return ToJudge("test", names, lambda index: _pictures(test[index], context.device))
    if photos.validation is not None:
        held_out = photos.validation
        # inputs stand before well-lit photographs
        names = [Path(name).name for name in held_out.inputs.names]
        return ToJudge("validation", names, lambda index: _pictures(held_out[index], context.device))
    backlit = photos.backlit
    # one at least, or there would be nothing to report
    shown = list(backlit.names[: max(at_least, 1)])
    return ToJudge(
        "backlit training photographs, no references",
        shown,
        lambda index: (shown[index], {"input": bounded(backlit[index], context.device)}),
    )


def judged(pictures: Pictures, measurement: Measurement, similarity: Judge | None) -> dict[str, Figures]:
    """``{kind: {"psnr": ..., "ssim": ..., "S": ...}}`` of one photograph's pictures, as far as there are any.

    Args:
        pictures: input and result are compared with the reference, if it is there.
        measurement: of PSNR and SSIM.
        similarity: gives S(I) of each picture; None where no prompts are known.
    """
    found = compared(measurement, pictures, ("input", "result"))
    if similarity is None:
        return found
    scores = {kind: {"S": similarity(round_to_8_bits(picture)).item()} for kind, picture in pictures.items()}
    return {kind: {**score, **found.get(kind, {})} for kind, score in scores.items()}


def _pictures(pair: Any, device: torch.device) -> tuple[str, Pictures]:
    kinds = [kind for kind in ("input", "reference") if kind in pair]
    return Path(pair["name"]).name, {kind: bounded(pair[kind], device) for kind in kinds}
