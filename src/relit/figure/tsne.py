"""CLIP-RestoreX Fig. 6: do CLIP's blocks tell badly exposed photographs from normally exposed ones?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from relit.clip_restorex.prior import stacked_features
from relit.errors import ConfigurationError
from relit.figure.finished import open_finished
from relit.figure.paired_photographs import training_scenes
from relit.figure.tower_blocks import BLOCKS, prior_tower

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relit.frozen_tower import FrozenTower
    from relit.run_context import RunContext

_EACH = 350
"""Photographs of either kind at most: 700 in all, as in the paper."""
_LEAST = 5
"""Photographs of either kind without which there is nothing to see."""
_COLOURS = {"badly exposed": "tab:orange", "normally exposed": "tab:blue"}


def tsne(run: Path) -> Figure:
    """t-SNE of the class tokens of blocks 1, 3, 7 and 11 on training photographs, a panel for each block.

    No scene is shown twice: every second one gives its inputs, the others their reference. t-SNE does not
    keep distances, so each panel also says how often the nearest neighbour in the block's own space is of the
    same kind.

    Args:
        run: a run of CLIP-RestoreX.

    Raises:
        ConfigurationError: it has no CLIP for priors, one without these blocks, or too few photographs.
    """
    from matplotlib.figure import Figure
    from sklearn.manifold import TSNE

    context = open_finished(run, ("prior",))
    clip = prior_tower(context)
    features, bad = _unpaired_features(context, clip)
    figure = Figure(figsize=(3.1 * len(BLOCKS), 3.4), layout="constrained")
    axes = figure.subplots(1, len(BLOCKS))
    for place, (block, panel) in enumerate(zip(BLOCKS, axes, strict=True)):
        found = features[:, place]
        embedding = TSNE(perplexity=min(30, (len(bad) - 1) / 3), init="pca", random_state=0)
        points = embedding.fit_transform(found.numpy())
        for kind, which in (("badly exposed", bad), ("normally exposed", ~bad)):
            label = f"{kind} ({int(which.sum())})"
            panel.scatter(*points[which].T, s=9, color=_COLOURS[kind], alpha=0.7, linewidths=0, label=label)
        panel.set_title(f"block {block}", fontsize=10)
        same = f"nearest neighbour of the same kind: {neighbours_agree(found, bad):.0%}"
        panel.set_xlabel(same, fontsize=8)
        panel.set(xticks=[], yticks=[])
    handles, labels = axes[0].get_legend_handles_labels()
    title = f"t-SNE of {clip.identity.model} ({clip.identity.source})"
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


@torch.no_grad()
def _unpaired_features(context: RunContext, clip: FrozenTower) -> tuple[Tensor, np.ndarray]:
    """Features (N, blocks, W) on the CPU, and which are of badly exposed photographs."""
    rows: dict[bool, list[Tensor]] = {True: [], False: []}
    for scene, bad, good, new in training_scenes(context):
        kind = scene % 2 == 0
        if len(rows[kind]) < _EACH and (kind or new):
            image = bad if kind else good
            rows[kind].append(stacked_features(clip, image, BLOCKS, "class").cpu())
        if all(len(of) == _EACH for of in rows.values()):
            break
    if min(len(of) for of in rows.values()) < _LEAST:
        raise ConfigurationError(
            f"{context.run_dir}: has {len(rows[True])} badly and {len(rows[False])} normally exposed "
            f"photographs of different scenes to train on; a pattern needs at least {_LEAST} of either."
        )
    kinds = np.array([kind for kind, of in rows.items() for _ in of])
    return torch.cat(rows[True] + rows[False]), kinds


def neighbours_agree(features: Tensor, kinds: np.ndarray) -> float:
    """Share of the rows of features (N, W) whose nearest other row is of the same of ``kinds`` (N,)."""
    distances = torch.cdist(features.double(), features.double())
    nearest = distances.fill_diagonal_(float("inf")).argmin(dim=1).numpy()
    return float((kinds[nearest] == kinds).mean())
