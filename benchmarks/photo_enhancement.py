"""A photograph of 3 megapixels enhanced by the network that CLIP-LIT released, at full resolution.

Straightforward: the network sees the photograph whole, in float32 and PyTorch's default memory layout.

Relit: the same map in tiles and in channels-last layout, which differs by rounding alone; and ``--fast``, the
map of a reduced photograph brought back along its edges, which is another map (how close it is on real
photographs the tests say).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from benchmarks.stand_ins import random_pixels
from benchmarks.timing import interleaved
from relit.clip_lit.enhancement import Enhancement
from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, enhance
from relit.memory import keep_large_allocations

HEIGHT, WIDTH = 1440, 2160
TOLERANCE = 1e-4
"""How far results of the two ways may be apart, of a range of 1."""


@torch.no_grad()
def straightforward(network: IlluminationNetwork, photo: Tensor) -> Tensor:
    """The result of a whole photograph, (1, 3, H, W) in [0, 1]."""
    return enhance(photo, network(photo))


def random_photo(height: int, width: int) -> Tensor:
    """(1, 3, height, width) in [0, 1]."""
    return random_pixels(1, max(height, width))[..., :height, :width] / 255


def run(repetitions: int = 3) -> dict[str, tuple[float, float]]:
    """Seconds of (the straightforward way, Relit) for one photograph.

    Raises:
        AssertionError: tiles give another result.
    """
    keep_large_allocations()  # as relit enhance does
    network, photo = ResidualPPM(initial_map=1.0).eval(), random_photo(HEIGHT, WIDTH)
    exact, fast = (Enhancement(copy.deepcopy(network), fast=fast) for fast in (False, True))
    with torch.inference_mode():
        torch.testing.assert_close(exact(photo), straightforward(network, photo), rtol=0, atol=TOLERANCE)
        seconds = interleaved(
            {
                "straightforward": lambda: straightforward(network, photo),
                "tiles": lambda: exact(photo),
                "fast": lambda: fast(photo),
            },
            repetitions,
        )
    whole = seconds["straightforward"]
    return {
        "photograph of 3 MP": (whole, seconds["tiles"]),
        "photograph of 3 MP, --fast": (whole, seconds["fast"]),
    }
