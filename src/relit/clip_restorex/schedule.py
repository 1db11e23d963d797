"""The arithmetic of diffusion, CLIP-RestoreX Eq. (2)-(5): how noise is added, and what a step back is.

Steps are counted from 1 to T as in the paper. x is any real or complex tensor; nothing here is trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from relit.errors import ConfigurationError

BETA_FIRST, BETA_LAST = 0.1, 0.99
"""DiffIR's: x_T is almost only noise after a handful of steps."""


def betas(steps: int) -> Tensor:
    """beta_1 ... beta_T, float64 (T,): squares of a linear ramp between the roots of 0.1 and 0.99.

    A single step, T = 1, is the ramp's last one: its first would leave 0.9 of the clean prior's power in x_T,
    so that training would be shown what inference is not.

    Raises:
        ConfigurationError: fewer than 1 step.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ConfigurationError(f"network.diffusion.steps: expected at least 1, found {steps!r}.")
    last, first = BETA_LAST**0.5, BETA_FIRST**0.5
    # from its end, where a ramp of one step stays
    return torch.linspace(last, first, steps, dtype=torch.float64, device="cpu").flip(0).square()


class Schedule(nn.Module):
    """beta_t, alpha_t = 1 - beta_t and their products alpha_bar_t, t = 1 ... T, alpha_bar_0 = 1.

    CLIP-RestoreX Eq. (2), q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I), is these numbers; nothing
    draws it step by step, because :meth:`noised` is all of its steps at once.

    Args:
        steps: T.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        beta = betas(steps)
        self.steps = steps
        # Python numbers: exact, on no device, in no checkpoint
        self.beta = [0.0, *beta.tolist()]
        self.alpha_bar = [1.0, *torch.cumprod(1 - beta, 0).tolist()]

    def alpha(self, t: int) -> float:
        """alpha_t."""
        return 1 - self.beta[t]

    def noised(self, x0: Tensor, noise: Tensor, t: int) -> Tensor:
        """CLIP-RestoreX Eq. (3): x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise."""
        return self.alpha_bar[t] ** 0.5 * x0 + (1 - self.alpha_bar[t]) ** 0.5 * noise

    def posterior_mean(self, x_t: Tensor, x0: Tensor, t: int) -> Tensor:
        """CLIP-RestoreX Eq. (4): the mean of q(x_{t-1} | x_t, x_0), written in x_0.

        sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) x_0
        + sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) x_t
        """
        before, now = self.alpha_bar[t - 1], self.alpha_bar[t]
        of_clean = before**0.5 * self.beta[t] / (1 - now)
        of_noisy = self.alpha(t) ** 0.5 * (1 - before) / (1 - now)
        return of_clean * x0 + of_noisy * x_t

    def mean_by_noise(self, x_t: Tensor, noise: Tensor, t: int) -> Tensor:
        """CLIP-RestoreX Eq. (4) and CLIP-RestoreX Eq. (5): the same mean written in the noise.

        1 / sqrt(alpha_t) (x_t - (1 - alpha_t) / sqrt(1 - alpha_bar_t) noise)
        """
        share = self.beta[t] / (1 - self.alpha_bar[t]) ** 0.5
        return (x_t - share * noise) / self.alpha(t) ** 0.5

    def posterior_variance(self, t: int) -> float:
        """CLIP-RestoreX Eq. (4): (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t; 0 for t = 1."""
        return (1 - self.alpha_bar[t - 1]) / (1 - self.alpha_bar[t]) * self.beta[t]

    def printed_variance(self, t: int) -> float:
        """CLIP-RestoreX Eq. (5) as printed: 1 - alpha_t = beta_t, in the last step too."""
        return self.beta[t]
