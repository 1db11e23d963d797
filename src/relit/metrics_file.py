"""``metrics.json`` of a run directory: every figure with the protocol it was measured by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relit.atomic import atomic_write

METRICS_FILE = "metrics.json"


def write_metrics(run_dir: Path, report: Mapping[str, Any]) -> Path:
    """Write ``report`` atomically and return the file; the infinite PSNR of equal images becomes null.

    A figure that is not a number stays one, as the text ``nan``.
    """
    path = run_dir / METRICS_FILE
    atomic_write(path, json.dumps(_plain(report), indent=2, allow_nan=False).encode())
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return None if isinstance(value, float) and not math.isfinite(value) else value
