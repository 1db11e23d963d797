"""Backlit photographs and well-lit ones of a CLIP-LIT run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from relit.clip_lit.judging import Pictures, ToJudge, photographs_to_judge
from relit.clip_lit.scores import bounded
from relit.figure.chosen import choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relit.data.unpaired import UnpairedPhotos
    from relit.run_context import RunContext

TRAINING_PHOTOGRAPHS = 200
"""Shown at most where there is nothing to test or validate on."""


def photographs(context: RunContext) -> ToJudge:
    """Test pairs; else validation inputs; else backlit training photographs."""
    return photographs_to_judge(context, TRAINING_PHOTOGRAPHS)


def chosen(context: RunContext, wanted: Sequence[str], count: int) -> list[tuple[str, Pictures]]:
    """Names and pictures of the photographs ``wanted``; of ``count``, if none is named."""
    found = photographs(context)
    return [found.at(place) for place in choose(found.names, wanted, count)]


def well_lit(context: RunContext) -> ToJudge:
    """Well-lit photographs of other scenes, as ``reference``: held-out ones, else those trained on."""
    photos = cast("UnpairedPhotos", context.datamodule)
    photos.setup("test")
    held_out = None if photos.validation is None else photos.validation.well_lit
    found = photos.well_lit if held_out is None else held_out
    names = list(found.names)[:TRAINING_PHOTOGRAPHS]
    what = "well-lit training photographs" if held_out is None else "held-out well-lit photographs"
    return ToJudge(
        what, names, lambda place: (names[place], {"reference": bounded(found[place], context.device)})
    )
