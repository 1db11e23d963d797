"""How results change from round to round: CLIP-LIT's iterative learning, measured on test photographs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from relit.atomic import atomic_write
from relit.clip_lit.judging import enhancer, judge, judged, photographs_to_judge, with_result
from relit.measurement import Measurement
from relit.plan import PlannedStage, expand_plan
from relit.protocols import RGB8
from relit.run_scores import Scored, means, score_all
from relit.weights import WEIGHTS_FILE, Weights, read_weights

if TYPE_CHECKING:
    from relit.run_context import RunContext

log = logging.getLogger(__name__)

COLUMNS = (("psnr", "PSNR (dB)", 2), ("ssim", "SSIM", 3), ("S", "S", 3))


def evaluate_rounds(context: RunContext, photographs: int) -> None:
    """Judge the enhancer that each stage left; write ``rounds.json`` and print a table.

    S(I) of different rounds can only be compared under one prompt pair, so all are scored by the last one.

    Args:
        context: the finished run.
        photographs: how many test photographs to judge by, the first ones.
    """
    stages = context.run_dir / "stages"
    if not stages.is_dir():
        log.info("No figures by round: %s holds no stages.", context.run_dir)
        return
    similarity = judge(context)
    to_judge = photographs_to_judge(context, photographs)
    count = min(photographs, to_judge.count)
    measurement = Measurement(RGB8, ("psnr", "ssim"), context.device)
    rows: list[dict[str, Any]] = []
    for planned, weights in changed(context, "enhancer"):
        network = enhancer(context, weights)

        def measure(index: int, network: nn.Module = network) -> Scored:
            name, pictures = to_judge.at(index)
            return Scored(index, name, "", judged(with_result(network, pictures), measurement, similarity))

        measured = means(score_all(context, count, measure))
        if not rows:
            rows.append({"stage": "input", **measured.get("input", {})})
        rows.append({"stage": planned.folder, "round": planned.round, **measured.get("result", {})})
    if context.rank == 0:
        atomic_write(context.run_dir / "rounds.json", json.dumps(rows, indent=2).encode())
        log.info("%s", table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text: PSNR, SSIM and S of the enhancer that each stage left."""
    columns = [column for column in COLUMNS if column[0] in rows[-1]]
    lines = ["", "  ".join(["enhancer after".ljust(24), *(head.rjust(10) for _, head, _ in columns)])]
    for row in rows:
        cells = (f"{row[name]:.{digits}f}".rjust(10) for name, _, digits in columns)
        lines.append("  ".join([row["stage"].ljust(24), *cells]))
    return "\n".join(lines)


def changed(context: RunContext, group: str) -> Iterator[tuple[PlannedStage, Weights]]:
    """The stages that changed a group of weights, such as ``enhancer``, with all weights they left."""
    before: Weights = {}
    for planned in expand_plan(context.cfg["plan"]):
        weights, _ = read_weights(context.run_dir / "stages" / planned.folder / WEIGHTS_FILE)
        if group in weights and not _equal(weights[group], before.get(group, {})):
            yield planned, weights
        before = weights


def _equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
