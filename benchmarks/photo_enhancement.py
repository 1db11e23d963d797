"""Photographs enhanced by the network that CLIP-LIT released, at full resolution.

Straightforward: the network sees a photograph whole, in float32 and PyTorch's default memory layout.

Relit: the same map in tiles and in channels-last layout, which differs by rounding alone; ``--fast``, the map
of a reduced photograph brought back along its edges; and networks of other ``network.illumination_scale``,
which are trained to see reduced photographs. The latter two give other maps: how close ``--fast`` comes to
the whole the tests say on real photographs, and docs/PERFORMANCE.md what a scale costs.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from benchmarks.stand_ins import random_pixels
from benchmarks.tables import Table, speedups
from benchmarks.timing import interleaved
from relit.clip_lit.enhancement import Enhancement
from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, enhance
from relit.memory import keep_large_allocations

HEIGHT, WIDTH = 1440, 2160
SCALES = (2, 4, 8)
GOALS = {"in tiles": "1.3 or more", "--fast": "20 or more"}
TOLERANCE = 1e-4
"""How far results of the two ways may be apart, of a range of 1."""


@torch.no_grad()
def straightforward(network: IlluminationNetwork, photo: Tensor) -> Tensor:
    """The result of a whole photograph, (1, 3, H, W) in [0, 1]."""
    return enhance(photo, network(photo))


def random_photo(height: int, width: int) -> Tensor:
    """(1, 3, height, width) in [0, 1]."""
    return random_pixels(1, max(height, width))[..., :height, :width] / 255


def run(repetitions: int = 3) -> list[Table]:
    """Seconds of one photograph in all ways; of a larger one in those that need not compute it whole.

    Raises:
        AssertionError: tiles give another result.
    """
    keep_large_allocations()  # as relit enhance does
    network, photo = ResidualPPM(initial_map=1.0).eval(), random_photo(HEIGHT, WIDTH)
    ways = {"in tiles": Enhancement(copy.deepcopy(network)), **reduced_ways(network)}
    with torch.inference_mode():
        torch.testing.assert_close(
            ways["in tiles"](photo), straightforward(network, photo), rtol=0, atol=TOLERANCE
        )
        tasks = {name: partial(way, photo) for name, way in ways.items()}
        seconds = interleaved({"": partial(straightforward, network, photo), **tasks}, repetitions)
        large = random_photo(2 * HEIGHT, 2 * WIDTH)
        tasks = {name: partial(way, large) for name, way in reduced_ways(network).items()}
        seconds_of_large = interleaved(tasks, repetitions)
    rows = [(name, seconds[""], seconds[name], GOALS.get(name, "")) for name in ways]
    return [
        speedups(f"A photograph of {megapixels(photo)} MP", rows),
        Table(
            f"A photograph of {megapixels(large)} MP",
            ("Relit, s",),
            {name: (value,) for name, value in seconds_of_large.items()},
        ),
    ]


def reduced_ways(network: ResidualPPM) -> dict[str, Enhancement]:
    """Ways to enhance in which ``network`` sees reduced photographs."""
    ways = {"--fast": Enhancement(copy.deepcopy(network), fast=True)}
    for scale in SCALES:
        reduced = ResidualPPM(initial_map=1.0, illumination_scale=scale).eval()
        reduced.load_state_dict(network.state_dict())
        ways[f"illumination_scale={scale}"] = Enhancement(reduced)
    return ways


def megapixels(photo: Tensor) -> int:
    """Of (1, 3, H, W), rounded."""
    return round(photo.shape[-2] * photo.shape[-1] / 1e6)
