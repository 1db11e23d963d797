"""CLIP-RestoreX as it is used: priors of the photograph, restored, modulate a Restormer."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from relit.clip_restorex.diffusion import PriorDiffusion, starting_noise
from relit.clip_restorex.prior import Priors
from relit.clip_restorex.restormer import Restormer
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower


class RestoreX(nn.Module):
    """The parts that are trained; the frozen CLIP is handed to :meth:`restored_priors`.

    Args:
        restormer: called with the length of the priors, None without.
        priors: makes priors of what it observes of a photograph; None for the plain Restormer.
        diffusion: called with length and count of the priors; None where the input's priors are used as
            their converter makes them.

    Attributes:
        restormer: the network that corrects.
        priors: of the badly exposed photograph.
        diffusion: restores them.
    """

    def __init__(
        self,
        restormer: Callable[..., Restormer],
        priors: Priors | None,
        diffusion: Callable[..., PriorDiffusion] | None,
    ) -> None:
        super().__init__()
        if priors is None and diffusion is not None:
            raise ConfigurationError(
                "network.diffusion: there are no priors to restore; set network.diffusion=null."
            )
        self.restormer = restormer(prior=None if priors is None else priors.length)
        self.priors = priors
        self.diffusion = (
            None
            if diffusion is None or priors is None
            else diffusion(length=priors.length, count=priors.count)
        )

    def restored_priors(self, images: Tensor, clip: FrozenTower | None) -> Tensor | None:
        """P', (B, n, D), of whole photographs (B, 3, H, W) in [0, 1]; None for the plain Restormer.

        The reverse steps begin at a fixed noise: the same photograph always gives the same priors.
        """
        return None if self.priors is None else restored_priors(self.priors, self.diffusion, images, clip)


def restored_priors(
    priors: Priors, diffusion: PriorDiffusion | None, images: Tensor, clip: FrozenTower | None
) -> Tensor:
    """P', (B, n, D), of images (B, 3, H, W) in [0, 1]; without a diffusion P, as converted."""
    condition = cast("Tensor", priors(priors.observe(images, clip)))
    if diffusion is None:
        return condition
    noise = starting_noise(diffusion.draws, *condition.shape[1:]).to(condition.device)
    return cast("Tensor", diffusion(condition, noise.expand(len(images), -1, -1, -1)))
