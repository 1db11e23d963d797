"""EnlightenGAN's adversarial losses, one function per formula.

``real`` are a discriminator's scores of well-lit photographs and ``fake`` those of enhanced results, of any
shape (a PatchGAN gives a map of scores per image). The factors 1/2 are the released code's. Means are over
the batch of this process: with several processes the relativistic average of each is its own batch's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def relativistic_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Relativistic average LSGAN. L = (E[(r - E[f] - 1)^2] + E[(f - E[r])^2]) / 2 of real r and fake f.

    Args:
        real: scores of well-lit photographs.
        fake: scores of results, as many or not.

    Returns:
        A scalar >= 1/4, which it is where every real score is 1/2 above every fake one; 1/2 where all are
        equal. A constant added to all scores changes nothing.
    """
    r, f = _accurate(real), _accurate(fake)
    return (_square(r - f.mean(), 1) + _square(f - r.mean(), 0)) / 2


def relativistic_generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Relativistic average LSGAN. L = (E[(f - E[r] - 1)^2] + E[(r - E[f])^2]) / 2: real and fake exchanged.

    Args:
        real: scores of well-lit photographs.
        fake: scores of results, as many or not.

    Returns:
        A scalar >= 1/4, which it is where every fake score is 1/2 above every real one.
    """
    return relativistic_discriminator_loss(real=fake, fake=real)


def least_squares_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """LSGAN. L = (E[(r - 1)^2] + E[f^2]) / 2.

    Args:
        real: scores of well-lit patches.
        fake: scores of patches of results.

    Returns:
        A scalar >= 0; zero where real ones score 1 and fake ones 0.
    """
    return (_square(_accurate(real), 1) + _square(_accurate(fake), 0)) / 2


def least_squares_generator_loss(fake: Tensor) -> Tensor:
    """LSGAN. L = E[(f - 1)^2].

    Args:
        fake: scores of patches of results.

    Returns:
        A scalar >= 0; zero where they score 1.
    """
    return _square(_accurate(fake), 1)


def _square(scores: Tensor, target: float) -> Tensor:
    return (scores - target).square().mean()


def _accurate(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
