"""What is not computed in half precision, whatever the precision of training."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precisions widened; float32 and float64 as they are."""
    return x if x.dtype == torch.float64 else x.float()
