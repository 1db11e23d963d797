"""Strips of rows give what the whole map gives, and hold no map of full size."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from relit.clip_lit import strips
from relit.clip_lit.guided import box_mean, guided_upsampling, map_of_reduced, seen
from relit.clip_lit.network import enhance
from relit.clip_lit.running_mean import running_mean
from relit.clip_lit.strips import enhance_at_scale, enhance_in_strips

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def drawn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def textured(small: Tensor) -> Tensor:
    """A map that follows some of what is seen, and differs from one photograph of a batch to the next."""
    light = F.avg_pool2d(small.mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)
    return 0.4 + 0.5 * light + 0.1 * torch.arange(len(small)).view(-1, 1, 1, 1)


@pytest.fixture(params=[1, 100, 2**18], ids=["single rows", "a few rows", "whole"])
def strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "PIXELS", request.param)


@pytest.mark.usefixtures("strip")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("size", "scale", "multiple"),
    [
        ((40, 56), 4, 1),  # nothing is repeated
        ((37, 53), 4, 1),
        ((37, 53), 3, 8),
        ((31, 17), 8, 4),
        ((19, 1), 2, 1),
        ((1, 23), 5, 2),
        ((1, 1), 4, 1),
        ((3, 2), 2, 8),
    ],
)
def test_results_are_those_of_the_whole_map(
    size: tuple[int, int], scale: int, multiple: int, dtype: torch.dtype
) -> None:
    photos = drawn(2, 3, *size, dtype=dtype)
    expected = enhance(photos, map_of_reduced(photos, scale, textured, multiple))
    found = enhance_at_scale(photos, scale, textured, multiple)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.usefixtures("strip")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("size", "reduced"), [((61, 43), (17, 12)), ((5, 90), (2, 29)), ((12, 12), (11, 5))])
def test_photographs_may_be_reduced_by_any_factor(
    size: tuple[int, int], reduced: tuple[int, int], dtype: torch.dtype
) -> None:
    photos = drawn(2, 3, *size, dtype=dtype)
    small = F.interpolate(photos, reduced, mode="bilinear", antialias=True)
    expected = enhance(photos, guided_upsampling(textured(small), seen(small), seen(photos)))
    found = enhance_in_strips(photos, small, textured(small))
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[dtype])


def test_each_map_stays_within_the_range_that_the_network_gave() -> None:
    photos = torch.cat([torch.full((2, 3, 40, 30), 0.01), torch.full((2, 3, 40, 30), 0.3)], dim=-1)
    reduced = torch.linspace(0.1, 0.2, 15).expand(2, 3, 10, 15)  # neither as dark nor as light
    illumination = textured(reduced)
    found = enhance_in_strips(photos, reduced, illumination)
    for photo, result, small in zip(photos, found, illumination, strict=True):
        torch.testing.assert_close(result[..., 0], photo[..., 0] / small.min())
        torch.testing.assert_close(result[..., -1], photo[..., -1] / small.max())


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that operators make, views and ``apart`` left out."""

    def __init__(self, apart: int) -> None:
        super().__init__()
        self.apart, self.elements = apart, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not made._is_view() and made.numel() != self.apart:
            self.elements = max(self.elements, made.numel())
        return made


@pytest.mark.parametrize("size", [(640, 480), (637, 475)])
def test_no_map_of_full_size_lies_beside_the_result(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "PIXELS", 2**13)
    photo = drawn(1, 3, *size)
    with torch.no_grad(), Largest(apart=photo.numel()) as largest:
        enhance_at_scale(photo, 8, textured)
    assert largest.elements < math.prod(size) / 3


def test_gradients_need_the_whole_map() -> None:
    weight = torch.ones((), requires_grad=True)
    found = enhance_at_scale(drawn(1, 3, 20, 20), 2, lambda small: weight * textured(small))
    assert not found.requires_grad


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 8, 11])
@pytest.mark.parametrize("size", [(30, 41), (1, 5), (2, 2), (9, 1)])
def test_running_means_are_the_means_of_windows(size: tuple[int, int], radius: int) -> None:
    x = drawn(2, 3, *size)
    torch.testing.assert_close(running_mean(x, radius), box_mean(x, radius), rtol=0, atol=1e-14)
