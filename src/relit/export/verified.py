"""Exports that are kept only if they compute what the method itself computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from relit.errors import ConfigurationError
from relit.export import onnx_file, pt2_file
from relit.export.description import described
from relit.export.exportable import exportable
from relit.export.program import traced
from relit.keyed import keyed_generator
from relit.method import Method

FORMATS = {".pt2": pt2_file, ".onnx": onnx_file}

TOLERANCE = 1e-4
"""Largest difference from the method's own results: a 40th of an 8-bit level."""

SIZES = ((1, 48, 64), (2, 37, 61), (1, 75, 33))
"""B, H, W of what is compared: other sizes than the one that was traced, odd ones too."""


def exported(method: Method, metadata: Mapping[str, Any], suffix: str) -> tuple[bytes, float]:
    """A method as a file of the format ``suffix``, one of :data:`FORMATS`.

    Args:
        method: on the CPU.
        metadata: of its weight file.
        suffix: of the file, with its dot.

    Returns:
        The file, and the largest difference between results of it, loaded again, and of ``method``.

    Raises:
        ConfigurationError: the format needs packages that are missing; or the file computes something else.
    """
    form = FORMATS[suffix]
    form.check_packages()
    network = exportable(method)
    content = form.serialised(traced(network, network.smallest), described(metadata, network.smallest))
    return content, checked_difference(form.loaded(content), method)


def checked_difference(function: Callable[[Tensor], Tensor], method: Method) -> float:
    """The largest difference between results of ``function`` and of ``method``.

    Raises:
        ConfigurationError: it is above :data:`TOLERANCE`, or not a number.
    """
    difference = largest_difference(function, method)
    if not difference <= TOLERANCE:
        raise ConfigurationError(
            f"results of the exported file differ from those of the weights by up to {difference:.1e}, more "
            f"than {TOLERANCE:.0e}, so it is not kept. Try the other format, or another version of PyTorch."
        )
    return difference


def largest_difference(function: Callable[[Tensor], Tensor], method: Method) -> float:
    """Between results of ``function`` and of ``method``, over random photographs of :data:`SIZES`."""
    differences = []
    for batch, height, width in SIZES:
        photographs = torch.rand(
            batch, 3, height, width, generator=keyed_generator("photographs", height, width)
        )
        expected = torch.cat([method(photograph[None]) for photograph in photographs])
        differences.append((function(photographs) - expected).abs().max())
    return float(torch.stack(differences).max())
