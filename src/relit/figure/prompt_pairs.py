"""Learned prompts beside worded ones: what judges the same photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from relit.clip_lit.judging import Judge, judge
from relit.clip_lit.prompts import FixedPrompts
from relit.errors import ConfigurationError
from relit.metrics import round_to_8_bits

if TYPE_CHECKING:
    from relit.run_context import RunContext

LEARNED = "learned"

WORDED = (
    ("backlit", "well-lit"),
    ("backlit", "normal light"),
    ("underexposed", "well exposed"),
    ("dark", "bright"),
)
"""Negative and positive phrases that the embedded CLIP knows, too."""


def learned_judge(context: RunContext) -> Judge:
    """What the run's learned prompts say.

    Raises:
        ConfigurationError: it learned none.
    """
    found = judge(context) if "prompts" in context.weights else None
    if found is None:
        raise ConfigurationError(
            f"{context.run_dir}: learned no prompts, as in ablation=fixed_prompts, and this figure is about "
            "learned ones."
        )
    return found


def worded_judges(context: RunContext, like: Judge) -> dict[str, Judge]:
    """Judges by phrases, with the CLIP and the scale of ``like``: those of ``clip.phrases`` first.

    Their names are such as ``“well-lit”, not “backlit”``.
    """
    own = tuple(context.cfg["clip"].get("phrases") or ())
    pairs = dict.fromkeys([*([own] if own else []), *WORDED])
    return {
        f"“{positive}”, not “{negative}”": replace(like, text=FixedPrompts([negative, positive])(like.clip))
        for negative, positive in pairs
    }


@torch.no_grad()
def positive_score(judge: Judge, pictures: Tensor) -> list[float]:
    """CLIP-LIT's score of the positive prompt, 1 - S of Eq. (6): of (B, 3, H, W) in [0, 1], as 8 bits."""
    return [1 - score for score in judge(round_to_8_bits(pictures)).tolist()]
