"""Learning to make the reference's priors of the badly exposed photograph's, CLIP-RestoreX Eq. (1)-(8)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from relit.clip_restorex.correction_stage import continued
from relit.clip_restorex.diffusion import PriorDiffusion, training_noise
from relit.clip_restorex.losses import prior_loss
from relit.clip_restorex.model import RestoreX, restored_priors
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower
from relit.keyed import keyed_generator
from relit.stage_context import StageContext
from relit.weights import Weights


class PriorRestorer(nn.Module):
    """The input's converter, which begins as stage 1's, the diffusion, and stage 1's converter, frozen.

    Args:
        network: its priors and diffusion are trained.
        context: brings ``reference_priors`` of stage 1, and ``priors`` and ``diffusion`` of a stage before.
        noise_weight: weight of Eq. (6) beside L_p.

    Raises:
        ConfigurationError: there are no priors, or stage 1 handed none over.
    """

    def __init__(self, network: RestoreX, context: StageContext, noise_weight: float) -> None:
        super().__init__()
        if network.priors is None:
            raise ConfigurationError(
                f"network.priors: stage.{context.name} has none to restore; a plain Restormer is "
                "ablation=restorex_plain."
            )
        self.reference_priors = continued(
            copy.deepcopy(network.priors), context, "reference_priors", required=True
        )
        self.reference_priors.requires_grad_(False)
        known = "priors" if "priors" in context.weights else "reference_priors"
        self.priors = continued(network.priors, context, known)
        self.diffusion = network.diffusion
        if self.diffusion is not None:
            self.diffusion = continued(self.diffusion, context, "diffusion")
        if noise_weight < 0:
            raise ConfigurationError(
                f"stage.{context.name}.module.noise_weight={noise_weight}: expected 0 or more."
            )
        self.noise_weight, self.seed = noise_weight, context.seed

    def forward(self, images: Tensor, clip: FrozenTower | None) -> Tensor:
        """P', (B, n, D), of images alone, as at inference."""
        return restored_priors(self.priors, self.diffusion, images, clip)

    def learn(
        self, inputs: Tensor, reference: Tensor, clip: FrozenTower | None, positions: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Restore the priors of training pairs and compare them with the reference's.

        Args:
            inputs: I_in, (B, 3, H, W) in [0, 1].
            reference: I_gt, the same shape.
            clip: observes both, at once.
            positions: of the samples in the run, by which noise is drawn.

        Returns:
            P', (B, n, D); the losses by name: ``prior``, L_p, and ``noise``, Eq. (6), if it has a weight; and
            what was observed of the reference.
        """
        seen, wanted = self.priors.observe(torch.cat([inputs, reference]), clip).chunk(2)
        with torch.no_grad():
            target = self.reference_priors(wanted)
        condition = self.priors(seen)
        if self.diffusion is None:
            return condition, {"prior": prior_loss(condition, target)}, wanted
        noise = training_noise(list(positions), self.seed, self.diffusion.draws, *target.shape[1:])
        noise = noise.to(target.device)
        restored = self.diffusion(condition, noise, target)
        losses = {"prior": prior_loss(restored, target)}
        if self.noise_weight:
            losses["noise"] = self.noise_weight * self._noise_loss(
                self.diffusion, target, condition, noise, positions
            )
        return restored, losses, wanted

    def _noise_loss(
        self,
        diffusion: PriorDiffusion,
        clean: Tensor,
        condition: Tensor,
        noise: Tensor,
        positions: Sequence[int],
    ) -> Tensor:
        """Eq. (6), each sample at a step that its position draws: the mean over samples."""
        draws = [torch.rand((), generator=keyed_generator(self.seed, "diffusion step", p)) for p in positions]
        steps = [1 + int(draw * diffusion.schedule.steps) for draw in draws]
        errors = [
            diffusion.denoising_error(clean[[i]], condition[[i]], noise[[i], 0], t)
            for i, t in enumerate(steps)
        ]
        return torch.stack(errors).mean()

    def handover(self) -> Weights:
        """What was trained, and what it was trained towards, to compare with."""
        given = {"priors": self.priors.state_dict(), "reference_priors": self.reference_priors.state_dict()}
        return given if self.diffusion is None else {**given, "diffusion": self.diffusion.state_dict()}
