"""L_SAP with the CLIP that it asks, and without asking twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from relit.clip_restorex.losses import StructureAndPerceptionLoss
from relit.clip_restorex.prior import ClipPriors, Priors
from relit.frozen_tower import FrozenTower


class Perception(nn.Module):
    """L_SAP, Eq. (9), of results and references.

    CLIP sees each result once, with gradients, and each reference once, without; where the reference's
    priors were made from the same features, not again.

    Args:
        loss: Eq. (9) with its blocks and weight.
        clip: judges; the role ``sap``.
    """

    def __init__(self, loss: StructureAndPerceptionLoss, clip: FrozenTower) -> None:
        super().__init__()
        self.loss, self.clip = loss, clip

    def forward(self, result: Tensor, reference: Tensor, seen: Tensor | None) -> Tensor:
        """Weighted L_SAP, scalar.

        Args:
            result: I_out, (B, 3, H, W).
            reference: I_gt, the same shape.
            seen: the reference's features, if they are known already.
        """
        if seen is None:
            with torch.no_grad():
                seen = self.loss.features(self.clip, reference)
        return self.loss.weight * self.loss(self.loss.features(self.clip, result), seen)

    def knows(self, priors: Priors, prior_clip: FrozenTower | None) -> bool:
        """Whether what ``priors`` observe of a photograph is just what L_SAP compares."""
        return (
            isinstance(priors, ClipPriors)
            and self.clip is prior_clip
            and (self.loss.blocks, self.loss.token) == (priors.blocks, priors.token)
        )
