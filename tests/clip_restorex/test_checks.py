"""What CLIP-RestoreX refuses before anything is trained, and that the message names key and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from relit.clip_loading import load_clip
from relit.clip_restorex.checks import check_priors, check_sap
from relit.clip_restorex.denoisers import SpatialDenoiser
from relit.clip_restorex.diffusion import PriorDiffusion
from relit.clip_restorex.prior import ClipPriors, ImagePriors
from relit.errors import ConfigurationError

VIT, RESNET = (load_clip(f"tiny-{kind}", "embedded") for kind in ("ViT", "ResNet"))
CLIP = {"prior": VIT, "sap": VIT}


def priors(blocks: Sequence[int] = (3, 6, 9, 12), width: int = 96, token: Any = "class") -> ClipPriors:
    return ClipPriors(width, blocks, length=8, token=token)


def sap(**settings: Any) -> dict[str, Any]:
    return {"_target_": "relit.clip_restorex.losses.StructureAndPerceptionLoss", **settings}


@pytest.mark.parametrize("blocks", [[3, 6, 9, 12], [1, 2, 3, 4], [12]])
def test_priors_of_blocks_that_the_tower_has_are_accepted(blocks: list[int]) -> None:
    check_priors(priors(blocks), CLIP)
    check_sap("stage.a.module.sap", sap(blocks=blocks), CLIP)


def test_priors_that_ask_no_clip_need_none() -> None:
    check_priors(None, {})
    check_priors(ImagePriors(8, 8, 1), {})


@pytest.mark.parametrize(
    ("made", "clip", "message"),
    [
        (priors([3, 6, 9, 13]), CLIP, r"network\.priors\.blocks: tiny-ViT .* 1 to 12, not \[3, 6, 9, 13\]"),
        (priors([0, 1, 2, 3]), CLIP, r"network\.priors\.blocks: .* 1 to 12"),
        (priors([3, 6]), CLIP, r"network\.priors\.blocks: expected 4 blocks"),
        (priors(width=768), CLIP, r"network\.priors\.width=768: .*96 wide\. Set clip\.width=96"),
        (priors(token="cls"), CLIP, r"network\.priors\.token=cls: expected class or mean"),
        (priors(), {"prior": RESNET}, r"clip\.prior\.model=tiny-ResNet: .*no transformer blocks"),
        (priors(), {}, r"clip\.prior: there is none\. .*clip=tiny_prior"),
        (priors(), {"prompts": VIT}, r"clip\.prior: there is none"),
    ],
)  # fmt: skip
def test_priors_that_the_clip_can_not_give_are_refused(made: ClipPriors, clip: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_priors(made, clip)


@pytest.mark.parametrize(
    ("settings", "clip", "message"),
    [
        ({"blocks": [3, 24]}, CLIP, r"stage\.a\.module\.sap\.blocks: tiny-ViT has .* 1 to 12, not \[3, 24\]"),
        ({"blocks": []}, CLIP, r"stage\.a\.module\.sap\.blocks"),
        ({"token": "patch"}, CLIP, r"stage\.a\.module\.sap\.token=patch: expected class or mean"),
        ({}, {"sap": RESNET}, r"clip\.sap\.model=tiny-ResNet: .*no transformer blocks"),
        ({}, {"prior": VIT}, r"clip\.sap: there is none\. .*clip=openai_prior"),
    ],
)  # fmt: skip
def test_an_l_sap_that_the_clip_can_not_judge_is_refused(
    settings: dict[str, Any], clip: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_sap("stage.a.module.sap", sap(**settings), clip)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_fewer_than_one_reverse_step_is_refused(steps: Any) -> None:
    def denoiser(length: int, count: int) -> SpatialDenoiser:
        return SpatialDenoiser(length, count, hidden=8, layers=1)

    with pytest.raises(ConfigurationError, match=r"network\.diffusion\.steps: expected at least 1, found"):
        PriorDiffusion(denoiser, length=8, count=4, steps=steps)
