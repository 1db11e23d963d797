"""What of a CLIP-RestoreX configuration can be refused before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from relit.clip_restorex.prior import ClipPriors, Priors, Token
from relit.clip_restorex.restormer import LEVELS
from relit.errors import ConfigurationError
from relit.instantiation import build


def check_priors(priors: Priors | None, clip: Mapping[str, Any]) -> None:
    """Refuse priors of a CLIP that is not there, or that has other blocks than ``network.priors`` asks for.

    Args:
        priors: of the configured network; None, or made without a CLIP, are accepted.
        clip: the configured CLIPs by role.

    Raises:
        ConfigurationError: with the key to change.
    """
    if not isinstance(priors, ClipPriors):
        return
    check_features("network.priors", priors.blocks, priors.token, "prior", clip)
    if priors.count not in (1, LEVELS):
        raise ConfigurationError(
            f"network.priors.blocks: expected {LEVELS} blocks, one for each level of the Restormer, or "
            f"one for all levels, not {list(priors.blocks)}."
        )
    tower = clip["prior"]
    if priors.width != tower.block_width:
        raise ConfigurationError(
            f"network.priors.width={priors.width}: the blocks of {tower.identity.model} are "
            f"{tower.block_width} wide. Set clip.width={tower.block_width}."
        )


def check_sap(key: str, settings: Mapping[str, Any], clip: Mapping[str, Any]) -> None:
    """Refuse an L_SAP, at ``key``, that has no CLIP with its blocks.

    Args:
        key: of the settings.
        settings: a node that builds the loss.
        clip: the configured CLIPs by role.

    Raises:
        ConfigurationError: with the key to change.
    """
    loss = build(settings)
    check_features(key, loss.blocks, loss.token, "sap", clip)


def check_features(key: str, blocks: Sequence[int], token: str, role: str, clip: Mapping[str, Any]) -> None:
    """Refuse ``blocks`` and ``token``, set at ``key``, that the tower of ``clip.<role>`` doesn't have."""
    tower = clip.get(role)
    if tower is None:
        raise ConfigurationError(
            f"clip.{role}: there is none. Choose a CLIP for priors, clip=openai_prior or clip=tiny_prior."
        )
    if not tower.has_blocks:
        raise ConfigurationError(
            f"clip.{role}.model={tower.identity.model}: it has no transformer blocks; set a ViT, such as "
            "ViT-B-32 or tiny-ViT."
        )
    if not blocks or not all(1 <= block <= tower.block_count for block in blocks):
        raise ConfigurationError(
            f"{key}.blocks: {tower.identity.model} has blocks 1 to {tower.block_count}, not {list(blocks)}."
        )
    if token not in get_args(Token):
        raise ConfigurationError(f"{key}.token={token}: expected {' or '.join(get_args(Token))}.")
