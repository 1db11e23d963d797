"""PSNR and SSIM by what is wrong with the input: under-exposed, over-exposed, and all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relit.run_scores import Scored, means

MEASURED = ("input", "result", "by_reference_priors")
"""Kinds of pictures that are compared with the reference."""


def by_label(scores: Sequence[Scored]) -> dict[str, Any]:
    """``{kind: {psnr, ssim}, "by_label": {label: {kind: {psnr, ssim}}}}`` of whatever was measured."""
    labels = dict.fromkeys(scored.label for scored in scores if scored.label and scored.figures)
    rows = {label: means([scored for scored in scores if scored.label == label]) for label in labels}
    found: dict[str, Any] = {kind: {} for kind in ("input", "result")} | means(scores)
    return {**found, "by_label": rows} if rows else found


def as_text(report: Mapping[str, Any]) -> str:
    """The figures of a report as a table, one line for each label, with the protocol below."""
    groups = {**report.get("by_label", {}), "all": report}
    kinds = [kind for kind in MEASURED if report.get(kind)]
    lines = ["".join([" " * 8, *(f"{kind.replace('_', ' '):>22}" for kind in kinds)])]
    for label, rows in groups.items():
        cells = [f"{rows[kind]['psnr']:.2f} dB  {rows[kind]['ssim']:.3f}" for kind in kinds]
        lines.append("".join([f"{label:8}", *(f"{cell:>22}" for cell in cells)]))
    lines.append(
        f"PSNR and SSIM, {report['images']} photographs ({report['data']}), protocol "
        f"{report['protocol']['name']}, seed {report['seed']}, {report['steps']} steps"
    )
    if "by_reference_priors" in kinds:
        lines.append("by reference priors: in place of restored ones; no result, for nobody has them at hand")
    return "\n".join(lines)
