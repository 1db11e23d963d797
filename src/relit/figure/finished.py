"""A finished run opened again, as what comes after its last stage gets it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from relit.clip import check_clip
from relit.clip_roles import build_clips
from relit.errors import ConfigurationError
from relit.instantiation import build
from relit.plan import PlannedStage, expand_plan
from relit.report.run import read_config
from relit.run_context import RunContext
from relit.run_state import read_state
from relit.weights import WEIGHTS_FILE, Weights, read_weights


def open_finished(folder: Path, roles: Collection[str] = ()) -> RunContext:
    """The run in ``folder`` with the weights of its last stage; on a GPU where there is one.

    Data, network and CLIPs are built as its ``config.yaml`` says, so it must be a run that can be trusted.

    Args:
        folder: the run's directory, wherever it lies by now.
        roles: of the CLIPs that are needed; the others are not loaded, for they might not be at hand.

    Raises:
        ConfigurationError: it is no run directory, the run is not finished, or its data or CLIP can't be
            had.
    """
    config = read_config(folder)
    plan = expand_plan(config["plan"])
    weights, metadata, file, steps = _last_weights(folder, plan)
    nodes = config.get("clip") or {}
    clips = build_clips({role: nodes[role] for role in roles if role in nodes})
    check_clip(metadata, {role: clip.identity for role, clip in clips.items()}, file)
    stage = config["stage"][plan[-1].name]
    return RunContext(
        cfg=config,
        run_dir=folder,
        weights=weights,
        datamodule=build({**config["data"], **(stage.get("data") or {})}),
        clip=clips,
        network=lambda: build(config["network"]),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        steps=steps,
        logger=None,
        trained=False,
    )


def _last_weights(folder: Path, plan: list[PlannedStage]) -> tuple[Weights, dict[str, Any], Path, int]:
    done = read_state(folder).finished if (folder / "state.json").is_file() else []
    if len(done) < len(plan):
        raise ConfigurationError(
            f"{folder}: is not finished ({len(done)} of {len(plan)} stages). Give the command that trained "
            "it again: it goes on where it stopped."
        )
    file = folder / "stages" / plan[-1].folder / WEIGHTS_FILE
    weights, metadata = read_weights(file)
    return weights, metadata, file, sum(stage.steps for stage in done)
