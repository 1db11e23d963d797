"""Values of a photograph's regions, drawn in colours over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from relit.figure.pictures import as_array

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

_COLOUR = 0.65
"""Share of the colour; the rest is the photograph in grey."""


def overlay(picture: Tensor, values: np.ndarray, colours: Colormap) -> np.ndarray:
    """A picture in grey under the colours of ``values``: (H, W, 3) in [0, 1].

    Args:
        picture: (1, 3, H, W) in [0, 1].
        values: (H, W) in [0, 1], at the size that the picture is drawn in.
        colours: of the values.
    """
    grey = as_array(picture).mean(axis=2, keepdims=True)
    return np.asarray((1 - _COLOUR) * grey + _COLOUR * colours(values)[..., :3])
