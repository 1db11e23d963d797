"""CLIP-RestoreX Eq. (8)-(10)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from relit.clip_restorex.precision import at_least_float32
from relit.clip_restorex.prior import stacked_features
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower, Token


def prior_loss(restored: Tensor, reference: Tensor) -> Tensor:
    """CLIP-RestoreX Eq. (8): L_p = || IFFT(p_gt) - IFFT(p_input) ||_1, scalar.

    Mean absolute difference of the elements of each prior, summed over the n priors.

    Args:
        restored: P', (B, n, D), back from the frequency domain.
        reference: P of the reference, the same shape.
    """
    return (at_least_float32(restored) - reference).abs().mean(dim=(0, 2)).sum()


def reconstruction_loss(result: Tensor, reference: Tensor) -> Tensor:
    """|| I_gt - I_out ||_1 of CLIP-RestoreX Eq. (10), a mean over elements; scalar."""
    return (at_least_float32(result) - reference).abs().mean()


class StructureAndPerceptionLoss:
    """CLIP-RestoreX Eq. (9): L_SAP = || psi_i(I_gt) - psi_i(I_out) ||_1, summed over blocks i.

    Args:
        blocks: i, counted from 1.
        token: what stands for a block: its class token, or the mean of its patches' tokens.
        weight: of L_SAP in Eq. (10), 1 in the paper.
    """

    def __init__(
        self, blocks: Sequence[int] = (3, 6, 9, 12), token: Token = "class", weight: float = 1.0
    ) -> None:
        if weight <= 0:
            raise ConfigurationError(f"sap.weight={weight}: expected more than 0; sap=null leaves L_SAP out.")
        self.blocks, self.token, self.weight = tuple(blocks), token, weight

    def features(self, clip: FrozenTower, images: Tensor) -> Tensor:
        """psi(I), (B, n, W), of images (B, 3, H, W) in [0, 1]; gradients reach the images, never CLIP."""
        return stacked_features(clip, images, self.blocks, self.token)

    def __call__(self, result: Tensor, reference: Tensor) -> Tensor:
        """L_SAP, scalar, of the features (B, n, W) of result and reference: the sum of the blocks' means."""
        return (result - reference).abs().mean(dim=(0, 2)).sum()
