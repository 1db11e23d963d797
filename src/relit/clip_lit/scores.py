"""What photographs and results are judged by: S(I), and PSNR and SSIM where there are references."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from relit.data.reader import Resize
from relit.metrics import MeanOverImages, PairMetrics

LONG_SIDE = 2048
"""Larger photographs are reduced to this long side, as in the paper: 1.5 KB of memory a pixel."""

SCORED = ("input", "result", "reference", "well_lit")


def bounded(photo: Tensor, device: torch.device) -> Tensor:
    """A photograph, uint8 (3, H, W), as (1, 3, H, W) in [0, 1]; above LONG_SIDE reduced to it."""
    photo = Resize(long_side=LONG_SIDE)(photo)
    return photo[None].to(device).float() / 255


class Scores(nn.Module):
    """Means over photographs, by kind: ``input``, ``result``, ``reference``, ``well_lit``.

    Each rank sees its share of the photographs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input = PairMetrics()
        self.result = PairMetrics()
        means = {kind: MeanOverImages() for kind in SCORED}
        self.similarity = MetricCollection(dict(means), compute_groups=False)

    @property
    def paired(self) -> dict[str, PairMetrics]:
        """PSNR and SSIM of what is compared with references."""
        return {"input": self.input, "result": self.result}

    def add(
        self, pictures: Mapping[str, Tensor], similarity: Callable[[Tensor], Tensor | None] | None = None
    ) -> None:
        """Count one photograph's pictures, (1, 3, H, W) in [0, 1] by kind.

        Args:
            pictures: what there is of it; input and result are compared with the reference, if it is there.
            similarity: S(I), (1,), of a picture; None where no prompts are known.
        """
        reference = pictures.get("reference")
        for kind, picture in pictures.items():
            score = None if similarity is None else similarity(picture)
            if score is not None:
                self.similarity[kind].update(score)
            if reference is not None and kind in self.paired:
                self.paired[kind].update(picture, reference)

    def compute(self) -> dict[str, dict[str, float]]:
        """``{kind: {"psnr": ..., "ssim": ..., "S": ...}}`` of whatever was counted, on any rank."""
        rows: dict[str, dict[str, float]] = {}
        for kind in SCORED:
            found = {"S": self.similarity[kind].compute()}
            if kind in self.paired:
                found |= self.paired[kind].compute()
            row = {name: float(value) for name, value in found.items() if not value.isnan()}
            if row:
                rows[kind] = row
        return rows

    def reset(self) -> None:
        """Begin anew."""
        for metrics in (self.input, self.result, self.similarity):
            metrics.reset()
