"""Badly exposed photographs and their references, of a CLIP-RestoreX run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor

from relit.clip_lit.judging import ToJudge
from relit.clip_restorex.results import pairs_to_measure, pictures_of
from relit.errors import ConfigurationError
from relit.figure.copies import fingerprint

if TYPE_CHECKING:
    from relit.data.paired import PairedPhotos
    from relit.run_context import RunContext


def photographs(context: RunContext) -> ToJudge:
    """Test pairs; else those held out for validation.

    Raises:
        ConfigurationError: there are neither.
    """
    data, pairs = pairs_to_measure(cast("PairedPhotos", context.datamodule))
    if pairs is None or not len(pairs):
        raise ConfigurationError(
            f"{context.run_dir}: its data has neither test pairs nor held-out scenes to show. Draw a run "
            "with data.held_out=N or a data set with a test split."
        )

    def at(place: int) -> tuple[str, dict[str, Tensor]]:
        name, _, pictures = pictures_of(pairs, place, context.device)
        return name, pictures

    return ToJudge(data, [Path(name).name for name in pairs.names], at)


def training_scenes(context: RunContext) -> Iterator[tuple[int, Tensor, Tensor, bool]]:
    """The training pairs one after the other, by scene: those with one reference are of one scene.

    Yields:
        The scene's number in order of appearance, input and reference, (1, 3, H, W) in [0, 1], and whether
        the scene is new.
    """
    photos = cast("PairedPhotos", context.datamodule)
    photos.setup("fit")
    pairs = photos.to_train_on()
    scenes: dict[bytes, int] = {}
    for place in range(len(pairs)):
        _, _, pictures = pictures_of(pairs, place, context.device)
        bad, good = pictures["input"], pictures["reference"]
        key = fingerprint(good)
        new = key not in scenes
        yield scenes.setdefault(key, len(scenes)), bad, good, new
