"""CLIP-RestoreX Fig. 7: how far exposure moves the features of CLIP's blocks, and of an ImageNet ViT's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from relit.clip_restorex.prior import stacked_features
from relit.errors import ConfigurationError
from relit.figure.finished import open_finished
from relit.figure.luminance import exposed
from relit.figure.paired_photographs import training_scenes
from relit.figure.tower_blocks import BLOCKS, checked, prior_tower
from relit.imagenet import load_imagenet_vit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relit.frozen_tower import FrozenTower
    from relit.run_context import RunContext

EVS = (-1.5, -1.0, 0.0, 1.0, 1.5)
"""Exposures of MSEC, in EV."""

NONE = "none"
"""In place of the ImageNet ViT's weights: leave it out."""

_SCENES = 100
_MODEL = "vit_base_patch32_224"


def distance(run: Path, imagenet: str | None = None) -> Figure:
    """Distance to the EV-0 photograph against EV, a line for each block, a panel for each tower.

    The photographs are the references of the run's training set, exposed otherwise in linear light.
    Distances are those of class tokens, in units of the mean distance between the EV-0 photographs of
    different scenes: at 1, exposure moves a photograph as far as another scene would be.

    Args:
        run: a run of CLIP-RestoreX.
        imagenet: file with the weights of timm's ``vit_base_patch32_224``; None fetches them; ``none``
            leaves that tower out.

    Raises:
        ConfigurationError: no ImageNet weights are at hand (untrained ones would say nothing), the run has
            no CLIP for priors, or has fewer than two scenes.
    """
    from matplotlib.figure import Figure

    control = _imagenet(imagenet)
    context = open_finished(run, ("prior",))
    towers = {"clip.prior": prior_tower(context)}
    if control is not None:
        towers["ImageNet"] = control.to(context.device)
    found = _distances(context, towers)
    figure = Figure(figsize=(4.0 * len(towers) + 0.4, 3.6), layout="constrained")
    axes = figure.subplots(1, len(towers), squeeze=False, sharey=True)[0]
    for panel, (name, tower) in zip(axes, towers.items(), strict=True):
        for place, (block, line) in enumerate(zip(BLOCKS, found[name], strict=True)):
            # lines that lie on each other are told apart by their markers
            style = f"C{place}-{'osD^'[place]}"
            label = f"block {block}"
            panel.plot(EVS, line.tolist(), style, markerfacecolor="none", markersize=8 - place, label=label)
        title = f"{tower.identity.model} ({tower.identity.source})"
        panel.set_title(title, fontsize=10, parse_math=False)
        panel.set(xlabel="exposure (EV)", xticks=EVS, ylim=(0, None))
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("distance to the photograph at 0 EV\n(1: that to another scene)")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def relative_distances(features: Tensor) -> Tensor:
    """Mean distances of every exposure to EV 0, in units of the mean distance between scenes at EV 0.

    Args:
        features: (S, n, L, W) of S scenes at the n exposures of :data:`EVS`, L blocks.

    Returns:
        (L, n).
    """
    middle = features[:, EVS.index(0.0)]
    moved = (features - middle[:, None]).norm(dim=-1).mean(dim=0).T
    scenes = len(middle)
    between = torch.stack([torch.cdist(block, block).sum() for block in middle.transpose(0, 1)])
    return moved / (between / (scenes * (scenes - 1)))[:, None]


def _imagenet(weights: str | None) -> FrozenTower | None:
    if weights == NONE:
        return None
    try:
        tower = load_imagenet_vit(_MODEL) if weights is None else load_imagenet_vit(_MODEL, weights)
    except ConfigurationError as error:
        # its remedy, behind the first line, is that of a configuration
        reason = str(error).splitlines()[0].removeprefix("clip: ")
        raise ConfigurationError(
            f"the ImageNet ViT can't be loaded: {reason}\nOne with random weights would say nothing. Name a "
            f"file of its weights, fetched where there is a network, with --imagenet FILE, or leave it out "
            f"with --imagenet {NONE}."
        ) from error
    return checked(tower)


@torch.no_grad()
def _distances(context: RunContext, towers: Mapping[str, FrozenTower]) -> dict[str, Tensor]:
    rows: dict[str, list[Tensor]] = {name: [] for name in towers}
    for scene, _, good, new in training_scenes(context):
        if scene >= _SCENES:
            break
        if not new:
            continue
        versions = exposed(good, EVS)
        for name, tower in towers.items():
            rows[name].append(stacked_features(tower, versions, BLOCKS, "class").cpu())
    if len(next(iter(rows.values()))) < 2:
        raise ConfigurationError(
            f"{context.run_dir}: distances are told in units of those between scenes, and its training set "
            "has fewer than two."
        )
    return {name: relative_distances(torch.stack(of)) for name, of in rows.items()}
