"""PSNR and SSIM by what is wrong with the input: under-exposed, over-exposed, and all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from relit.metrics import PairMetrics

MEASURED = ("input", "result", "by_reference_priors")
"""Kinds of pictures that are compared with the reference."""


class LabelledScores:
    """Means over photographs, over all and by label, measured by one process alone."""

    def __init__(self) -> None:
        self.metrics: dict[tuple[str, str], PairMetrics] = {}

    def add(self, pictures: Mapping[str, Tensor], label: str) -> None:
        """Count one photograph's pictures, (1, 3, H, W) in [0, 1] by kind; without reference, nothing."""
        reference = pictures.get("reference")
        if reference is None:
            return
        for group in dict.fromkeys(("", label)):
            for kind in (kind for kind in MEASURED if kind in pictures):
                metrics = self.metrics.setdefault((group, kind), PairMetrics(over_ranks=False))
                metrics.to(reference.device).update(pictures[kind], reference)

    def compute(self) -> dict[str, Any]:
        """``{kind: {psnr, ssim}, "by_label": {label: {kind: {psnr, ssim}}}}`` of whatever was counted."""
        rows: dict[str, dict[str, dict[str, float]]] = {}
        for (group, kind), metrics in self.metrics.items():
            rows.setdefault(group, {})[kind] = {
                name: float(value) for name, value in metrics.compute().items()
            }
        found: dict[str, Any] = {kind: {} for kind in ("input", "result")} | rows.pop("", {})
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
