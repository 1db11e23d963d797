"""New networks as the ``network`` node of a configuration describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from relit.errors import ConfigurationError
from relit.instantiation import build


def build_network(config: Mapping[str, Any]) -> nn.Module:
    """A new network.

    Raises:
        ConfigurationError: the resolved ``config`` names none.
    """
    if config.get("network") is None:
        raise ConfigurationError("network: this stage needs a network, but the configuration names none.")
    return cast("nn.Module", build(config["network"]))


def build_network_to_train(config: Mapping[str, Any]) -> nn.Module:
    """A new network, laid out in memory as ``channels_last`` says."""
    layout = torch.channels_last if config.get("channels_last", True) else torch.contiguous_format
    return build_network(config).to(memory_format=layout)
