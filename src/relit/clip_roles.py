"""The CLIPs of a configuration by what they are for: prompts, identity, prior, sap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from relit.instantiation import build


def build_clips(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Instantiate each role's CLIP; roles with equal settings share one.

    Args:
        nodes: the node ``clip``. What has no ``_target_`` in it is a setting that stands beside the roles.
    """
    built: dict[str, Any] = {}
    roles: dict[str, Any] = {}
    for role, node in nodes.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            continue
        key = json.dumps(node, sort_keys=True)
        if key not in built:
            built[key] = build(node)
        roles[role] = built[key]
    return roles
