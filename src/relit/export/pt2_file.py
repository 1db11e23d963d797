"""Programs as ``.pt2``, PyTorch's own format: loaded by ``torch.export.load``, without Relit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.export import ExportedProgram

DESCRIPTION = "relit.json"
"""The file in the archive that describes it."""


def check_packages() -> None:
    """PyTorch suffices."""


def serialised(program: ExportedProgram, description: Mapping[str, str]) -> bytes:
    """The file, with its description in it."""
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={DESCRIPTION: json.dumps(description, indent=1)})
    return content.getvalue()


def loaded(content: bytes) -> Callable[[Tensor], Tensor]:
    """The function in a file."""
    module: Callable[[Tensor], Tensor] = torch.export.load(io.BytesIO(content)).module()
    return module
