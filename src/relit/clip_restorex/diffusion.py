"""FFEDM: priors of a badly exposed photograph restored in T reverse steps, CLIP-RestoreX Eq. (1)-(6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from relit.clip_restorex.denoisers import Denoiser
from relit.clip_restorex.precision import at_least_float32
from relit.clip_restorex.schedule import Schedule
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

Predicts = Literal["prior", "noise"]
ReverseNoise = Literal["none", "posterior", "printed"]


class PriorDiffusion(nn.Module):
    """``diff`` of CLIP-RestoreX Eq. (1): restores priors, given those of the bad exposure as the condition c.

    All T reverse steps run with gradients, as in DiffIR, which the paper follows: so L_p trains the network
    on what it will be asked for. The defaults are DiffIR's, too: the network predicts the clean prior, and
    the steps add no noise. Eq. (5) as printed is ``predicts="noise", reverse_noise="printed"``.

    Args:
        denoiser: called with the length D and the number n of priors; works in its own coordinates.
        length: D.
        count: n.
        steps: T.
        predicts: ``prior``, x_0, or ``noise``, what was added to it.
        reverse_noise: added in each reverse step: ``none``; ``posterior``, of Eq. (4)'s variance; or
            ``printed``, of Eq. (5)'s, which is larger and not left out in the last step.
    """

    def __init__(
        self,
        denoiser: Callable[..., Denoiser],
        length: int,
        count: int,
        steps: int = 4,
        predicts: Predicts = "prior",
        reverse_noise: ReverseNoise = "none",
    ) -> None:
        super().__init__()
        for key, value, known in (
            ("predicts", predicts, get_args(Predicts)),
            ("reverse_noise", reverse_noise, get_args(ReverseNoise)),
        ):
            if value not in known:
                raise ConfigurationError(
                    f"network.diffusion.{key}={value}: expected one of {', '.join(known)}."
                )
        self.denoiser = denoiser(length=length, count=count)
        self.schedule = Schedule(steps)
        self.predicts, self.reverse_noise = predicts, reverse_noise

    @property
    def draws(self) -> int:
        """Noise that :meth:`forward` needs: one vector to begin with and, if steps add some, one for each."""
        return 1 if self.reverse_noise == "none" else 1 + self.schedule.steps

    def forward(self, condition: Tensor, noise: Tensor, clean: Tensor | None = None) -> Tensor:
        """P': the restored priors (B, n, D), in float32 whatever the precision around.

        Args:
            condition: c, the priors of the badly exposed photograph, (B, n, D).
            noise: standard normal, (B, draws, n, D).
            clean: in training the reference's priors, of which x_T keeps the little that Eq. (3) leaves; None
                at inference, where x_T is noise alone.
        """
        last = self.schedule.steps
        with torch.autocast(condition.device.type, enabled=False):
            c = self.denoiser.coordinates(at_least_float32(condition))
            drawn = [self.denoiser.coordinates(at_least_float32(one)) for one in noise.unbind(dim=1)]
            x = drawn[0]
            if clean is not None:
                x = self.schedule.noised(self.denoiser.coordinates(at_least_float32(clean)), x, last)
            for t in range(last, 0, -1):
                x = self.reverse_mean(x, c, t)
                deviation = self.reverse_variance(t) ** 0.5
                if deviation:
                    x = x + deviation * drawn[t]
            return self.denoiser.prior(x)

    def reverse_mean(self, x: Tensor, c: Tensor, t: int) -> Tensor:
        """The mean of x_{t-1} given x_t, c and t, all in coordinates: CLIP-RestoreX Eq. (5),
        or Eq. (4) where the prior is predicted.
        """
        predicted = self.denoiser(x, c, t / self.schedule.steps)
        if self.predicts == "noise":
            return self.schedule.mean_by_noise(x, predicted, t)
        return self.schedule.posterior_mean(x, predicted, t)

    def reverse_variance(self, t: int) -> float:
        """Of the noise that step t adds."""
        if self.reverse_noise == "printed":
            return self.schedule.printed_variance(t)
        return self.schedule.posterior_variance(t) if self.reverse_noise == "posterior" else 0.0

    def denoising_error(self, clean: Tensor, condition: Tensor, noise: Tensor, t: int) -> Tensor:
        """CLIP-RestoreX Eq. (6): ``||eps - eps_theta(x_t, c, t)||^2``, a mean over elements; scalar.

        Where the network predicts the prior, of the prior.

        Args:
            clean: x_0, the reference's priors, (B, n, D).
            condition: c, the same shape.
            noise: eps, the same shape.
            t: the step, 1 to T.
        """
        with torch.autocast(condition.device.type, enabled=False):
            x0, c, eps = (self.denoiser.coordinates(at_least_float32(x)) for x in (clean, condition, noise))
            predicted = self.denoiser(self.schedule.noised(x0, eps, t), c, t / self.schedule.steps)
            wanted = eps if self.predicts == "noise" else x0
            return (self.denoiser.prior(predicted) - self.denoiser.prior(wanted)).square().mean()


def starting_noise(draws: int, count: int, length: int) -> Tensor:
    """The noise that inference begins with, (draws, n, D): always the same, so that results are, too."""
    return torch.randn(draws, count, length, generator=keyed_generator("starting noise"))


def training_noise(positions: list[int], seed: int, draws: int, count: int, length: int) -> Tensor:
    """Noise of training samples, (B, draws, n, D): a function of seed and position alone."""
    return torch.stack(
        [
            torch.randn(draws, count, length, generator=keyed_generator(seed, "diffusion", position))
            for position in positions
        ]
    )
