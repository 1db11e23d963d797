"""The losses of CLIP-LIT, one function per equation.

Symbols of the paper: I_b backlit image, I_w well-lit image, I_t enhanced result of this round, I_{t-1} that
of the previous round; T_n and T_p the negative and the positive prompt; Phi_image and Phi_text the towers of
CLIP; S(I) the negative similarity score, Eq. (6). ``text`` always holds Phi_text(T_n) in row 0 and
Phi_text(T_p) in row 1.

The paper writes Eq. (2), (3) and (6) with bare cosines. CLIP's features leave little room there (S differs by
at most about 0.76), so every cosine is multiplied by ``logit_scale``: 100 is CLIP's own, 1 is the formula as
printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relit.errors import ConfigurationError

Distance = Literal["l2_rms", "mse_sum8"]


def prompt_initialisation_loss(
    features: Tensor, labels: Tensor, text: Tensor, logit_scale: float = 100.0
) -> Tensor:
    """CLIP-LIT Eq. (1). L_initial = -(y log(y_hat) + (1 - y) log(1 - y_hat)), mean over the batch.

    Args:
        features: Phi_image(I), (B, D), of backlit and well-lit images.
        labels: y, (B,): 0 for a backlit image, 1 for a well-lit one.
        text: Phi_text of (T_n, T_p), (2, D).
        logit_scale: factor on the cosines in y_hat, Eq. (2).

    Returns:
        A scalar >= 0; ln 2 while both prompts are equal. It stays finite where y_hat saturates.
    """
    margin = _negative_logit(features, text, logit_scale)
    return F.binary_cross_entropy_with_logits(-margin, labels.to(margin.dtype))


def well_lit_probability(features: Tensor, text: Tensor, logit_scale: float = 100.0) -> Tensor:
    """CLIP-LIT Eq. (2). y_hat = exp(c_p) / (exp(c_n) + exp(c_p)) with c_i = cos(Phi_image(I), Phi_text(T_i)).

    Args:
        features: Phi_image(I), (B, D).
        text: Phi_text of (T_n, T_p), (2, D).
        logit_scale: factor on the cosines.

    Returns:
        (B,) in [0, 1].
    """
    return torch.sigmoid(-_negative_logit(features, text, logit_scale))


def clip_enhance_loss(features: Tensor, text: Tensor, logit_scale: float = 100.0) -> Tensor:
    """CLIP-LIT Eq. (3). L_clip = exp(c_n) / (exp(c_n) + exp(c_p)) with c_i = cos(Phi_image(I_t),
    Phi_text(T_i)).

    Args:
        features: Phi_image(I_t), (B, D), of the enhanced results.
        text: Phi_text of (T_n, T_p), (2, D).
        logit_scale: factor on the cosines.

    Returns:
        The mean over the batch, a scalar in [0, 1].
    """
    return negative_similarity(features, text, logit_scale).mean()


def identity_loss(
    features_input: Sequence[Tensor],
    features_result: Sequence[Tensor],
    layer_weights: Sequence[float],
    distance: Distance = "l2_rms",
) -> Tensor:
    """CLIP-LIT Eq. (4). L_identity = sum_{l=0..4} alpha_l ||Phi^l_image(I_b) - Phi^l_image(I_t)||_2.

    Args:
        features_input: Phi^l_image(I_b), one tensor (B, ...) per layer l.
        features_result: Phi^l_image(I_t), the same shapes.
        layer_weights: alpha_l, one per layer.
        distance: ``l2_rms`` is the L2 norm per image and layer divided by the square root of the element
            count (so that the weight w of Eq. (5) means the same at every size), mean over the batch.
            ``mse_sum8`` is the released code's mean squared error per image and layer, which it sums over its
            batch of 8: here a factor 8 on the mean over the batch, so that the loss does not depend on the
            batch size.

    Returns:
        A scalar >= 0. The gradient is finite (zero) where both features are equal.

    Raises:
        ValueError: the numbers of layers differ.
    """
    return torch.stack(
        [
            alpha * _feature_distance(b, t, distance)
            for alpha, b, t in zip(layer_weights, features_input, features_result, strict=True)
        ]
    ).sum()


def enhancement_loss(
    clip: Tensor, identity: Tensor, identity_weight: float = 0.9, clip_weight: float = 1.0
) -> Tensor:
    """CLIP-LIT Eq. (5). L_enhance = L_clip + w L_identity.

    Args:
        clip: L_clip, Eq. (3), a scalar.
        identity: L_identity, Eq. (4), a scalar.
        identity_weight: w; the released code has 0.9 x 25 with the distance ``mse_sum8``.
        clip_weight: factor on L_clip: 1 in the paper, 320 in the released code.
    """
    return clip_weight * clip + identity_weight * identity


def negative_similarity(features: Tensor, text: Tensor, logit_scale: float = 100.0) -> Tensor:
    """CLIP-LIT Eq. (6). S(I) = exp(c_n) / (exp(c_n) + exp(c_p)) with c_i = cos(Phi_image(I), Phi_text(T_i)).

    Args:
        features: Phi_image(I), (B, D).
        text: Phi_text of (T_n, T_p), (2, D).
        logit_scale: factor on the cosines.

    Returns:
        (B,) in [0, 1]: near 1 for an image like the negative prompt, near 0 for one like the positive prompt.
    """
    return torch.sigmoid(_negative_logit(features, text, logit_scale))


def ranking_loss_first(
    *, backlit: Tensor, well_lit: Tensor, result: Tensor, m0: float = 0.9, m1: float = 0.2
) -> Tensor:
    """CLIP-LIT Eq. (7). L_prompt1 = max(0, S(I_w) - S(I_b) + m0) + max(0, S(I_t) - S(I_b) + m0)
    + max(0, S(I_w) - S(I_t) + m1), each term's mean over the batch.

    Args:
        backlit: S(I_b), (B,).
        well_lit: S(I_w), (B,).
        result: S(I_t), (B,).
        m0: by how much backlit images must score above well-lit images and results.
        m1: by how much results must score above well-lit images.

    Returns:
        A scalar >= 0; zero once every margin is met.

    Raises:
        ValueError: the scores are not all (B,) of one length.
    """
    return (
        _hinge(well_lit, below=backlit, margin=m0)
        + _hinge(result, below=backlit, margin=m0)
        + _hinge(well_lit, below=result, margin=m1)
    )


def ranking_loss_later(
    *,
    backlit: Tensor,
    well_lit: Tensor,
    result: Tensor,
    previous: Tensor,
    m0: float = 0.9,
    m1: float = 0.2,
    m2: float = 0.2,
    swap_rounds: bool = False,
) -> Tensor:
    """CLIP-LIT Eq. (8). L_prompt2 = max(0, S(I_w) - S(I_b) + m0) + max(0, S(I_{t-1}) - S(I_b) + m0)
    + max(0, S(I_w) - S(I_t) + m1) + max(0, S(I_t) - S(I_{t-1}) + m2), each term's mean over the batch.

    Args:
        backlit: S(I_b), (B,).
        well_lit: S(I_w), (B,).
        result: S(I_t), (B,), of the newest network.
        previous: S(I_{t-1}), (B,), of the network one round before.
        m0: by how much backlit images must score above well-lit images and previous results.
        m1: by how much results must score above well-lit images.
        m2: by how much previous results must score above the newest ones.
        swap_rounds: exchange I_t and I_{t-1}, as the released code's file order does. The chain of scores is
            then I_b > I_t > I_{t-1} > I_w instead of I_b > I_{t-1} > I_t > I_w: the last term changes its
            sign.

    Returns:
        A scalar >= 0; zero once every margin is met.

    Raises:
        ValueError: the scores are not all (B,) of one length.
    """
    if swap_rounds:
        result, previous = previous, result
    return (
        _hinge(well_lit, below=backlit, margin=m0)
        + _hinge(previous, below=backlit, margin=m0)
        + _hinge(well_lit, below=result, margin=m1)
        + _hinge(result, below=previous, margin=m2)
    )


class IdentityLoss(nn.Module):
    """:func:`identity_loss` with its layer weights: all 1 in self-reconstruction, the last 0.5 after it."""

    def __init__(self, layer_weights: Sequence[float], distance: Distance = "l2_rms") -> None:
        super().__init__()
        if distance not in get_args(Distance):
            raise ConfigurationError(
                f"distance of Eq. (4) must be one of {get_args(Distance)}, not {distance!r}."
            )
        self.layer_weights = tuple(float(weight) for weight in layer_weights)
        self.distance: Distance = distance

    def forward(self, features_input: Sequence[Tensor], features_result: Sequence[Tensor]) -> Tensor:
        """See :func:`identity_loss`."""
        return identity_loss(features_input, features_result, self.layer_weights, self.distance)


class RankingLoss(nn.Module):
    """Eq. (7), or Eq. (8) where a previous round's result is given, on image features instead of scores."""

    def __init__(
        self,
        m0: float = 0.9,
        m1: float = 0.2,
        m2: float = 0.2,
        swap_rounds: bool = False,
        logit_scale: float = 100.0,
    ) -> None:
        super().__init__()
        self.m0, self.m1, self.m2 = m0, m1, m2
        self.swap_rounds = swap_rounds
        self.logit_scale = logit_scale

    def forward(
        self, text: Tensor, backlit: Tensor, well_lit: Tensor, result: Tensor, previous: Tensor | None = None
    ) -> Tensor:
        """The loss of text features (2, D), negative first, on image features (B, D) each."""
        s_b, s_w, s_t = (negative_similarity(f, text, self.logit_scale) for f in (backlit, well_lit, result))
        if previous is None:
            return ranking_loss_first(backlit=s_b, well_lit=s_w, result=s_t, m0=self.m0, m1=self.m1)
        return ranking_loss_later(
            backlit=s_b,
            well_lit=s_w,
            result=s_t,
            previous=negative_similarity(previous, text, self.logit_scale),
            m0=self.m0,
            m1=self.m1,
            m2=self.m2,
            swap_rounds=self.swap_rounds,
        )


def _negative_logit(features: Tensor, text: Tensor, logit_scale: float) -> Tensor:
    """logit_scale (cos(., T_n) - cos(., T_p)), (B,): its sigmoid is the softmax over the two prompts."""
    if text.ndim != 2 or len(text) != 2:
        raise ValueError(f"text must be (2, D), negative and positive prompt, not {tuple(text.shape)}")
    # Products in float32 at least, and no matrix product, which autocast would run in bfloat16: at a scale of
    # 100 its rounding would move the logit by 0.4.
    cosines = F.cosine_similarity(_accurate(features)[:, None], _accurate(text)[None], dim=-1)
    return logit_scale * (cosines[:, 0] - cosines[:, 1])


def _feature_distance(b: Tensor, t: Tensor, distance: Distance) -> Tensor:
    difference = (_accurate(b) - _accurate(t)).flatten(1)
    if distance == "l2_rms":
        # vector_norm has the subgradient 0 at 0, where the square root of a sum has none.
        return torch.linalg.vector_norm(difference, dim=1).mean() / difference.shape[1] ** 0.5
    if distance == "mse_sum8":
        return 8 * difference.square().mean()
    raise ValueError(f"distance must be 'l2_rms' or 'mse_sum8', not {distance!r}")


def _hinge(score: Tensor, *, below: Tensor, margin: float) -> Tensor:
    """max(0, score - below + margin), mean over the batch: zero once ``score`` is below by ``margin``."""
    if score.ndim != 1 or score.shape != below.shape:
        raise ValueError(f"scores must be (B,) and alike, not {tuple(score.shape)} and {tuple(below.shape)}")
    return F.relu(score - below + margin).mean()


def _accurate(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
