"""What an exported file says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

INPUT, OUTPUT = "photographs", "results"


def described(metadata: Mapping[str, Any], smallest: int) -> dict[str, str]:
    """Where an exported function comes from, and what it takes and gives.

    Args:
        metadata: of the weight file.
        smallest: pixels that each side must have at least.

    Returns:
        Strings by name: ``relit`` (its version), ``method``, ``run`` (its name, empty for imported weights),
        ``input``, ``output``; and as JSON ``network``, ``clip`` and ``imported_from``.
    """
    colours = "float32 (B, 3, H, W), sRGB in [0, 1]"
    return {
        "relit": version("relit"),
        "method": str(metadata["method"]),
        "run": str(metadata.get("run", "")),
        "network": json.dumps(metadata["network"], sort_keys=True),
        "clip": json.dumps(metadata.get("clip", {}), sort_keys=True),
        "imported_from": json.dumps(metadata.get("imported_from", []), sort_keys=True),
        "input": f"{INPUT}: {colours}; any B, any H and W from {smallest} pixels",
        "output": f"{OUTPUT}: {colours}, of the same shape",
    }
