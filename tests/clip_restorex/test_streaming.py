"""Strips of rows give what the whole photograph gives, whatever their height."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from relit.clip_restorex import feature_maps
from relit.clip_restorex.restormer import Restormer
from relit.clip_restorex.streaming import streamed, strips

SMALL: dict[str, Any] = {"dim": 8, "blocks": (2, 1, 1, 2), "refinement": 2, "heads": (1, 2, 4, 2)}
PRIOR = 3


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def pictures(*size: int, count: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(5))


def built(prior: int | None = PRIOR, dtype: torch.dtype = torch.float32) -> Restormer:
    """With drawn weights, the modulation's among them."""
    network = Restormer(**SMALL, prior=prior).to(dtype)
    for seed, parameter in enumerate(network.parameters()):
        parameter.data += 0.05 * drawn(*parameter.shape, seed=seed, dtype=dtype)
    return network


def whole(network: Restormer, images: Tensor, priors: Tensor | None) -> Tensor:
    with torch.no_grad():
        result: Tensor = network(images, priors)
    return result


# --- equality ---


@pytest.mark.parametrize("rows", [1, 3, 8, 11, 32, 1000])
@pytest.mark.parametrize("size", [(8, 8), (40, 24), (72, 16)])
def test_strips_of_any_height_give_what_the_whole_gives(size: tuple[int, int], rows: int) -> None:
    network, images, priors = built(), pictures(*size), drawn(1, 4, PRIOR)
    expected = whole(network, images, priors)
    assert 0.1 < (expected - images).abs().max() < 10  # it does something, and floats have digits left
    torch.testing.assert_close(streamed(network, images, priors, rows), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [2, 7])
def test_in_double_precision_nothing_but_rounding_is_between_them(rows: int) -> None:
    dtype = torch.float64
    network, images = built(dtype=dtype), pictures(48, 32, dtype=dtype)
    priors = drawn(1, 4, PRIOR, dtype=dtype)
    found = streamed(network, images, priors, rows)
    torch.testing.assert_close(found, whole(network, images, priors), atol=1e-12, rtol=0)


def test_the_plain_network_is_streamed_without_priors() -> None:
    network, images = built(None), pictures(24, 16)
    found = streamed(network, images, None, rows=5)
    torch.testing.assert_close(found, whole(network, images, None), atol=1e-5, rtol=0)


def test_one_prior_serves_all_levels() -> None:
    network, images, priors = built(), pictures(16, 16), drawn(1, 1, PRIOR)
    found = streamed(network, images, priors, rows=5)
    torch.testing.assert_close(found, whole(network, images, priors), atol=1e-5, rtol=0)


def test_each_photograph_of_a_batch_keeps_its_own_priors() -> None:
    network, images, priors = built(), pictures(24, 16, count=2), drawn(2, 4, PRIOR)
    found = streamed(network, images, priors, rows=5)
    torch.testing.assert_close(found, whole(network, images, priors), atol=1e-5, rtol=0)
    assert (found - streamed(network, images, priors.flip(0), rows=5)).abs().max() > 0.01


def test_the_height_of_strips_defaults_to_one_that_cuts_large_photographs() -> None:
    network, images, priors = built(), pictures(72, 8), drawn(1, 4, PRIOR)
    found = streamed(network, images, priors)
    torch.testing.assert_close(found, whole(network, images, priors), atol=1e-5, rtol=0)


def test_channels_last_photographs_and_networks_give_the_same() -> None:
    network, images, priors = built(), pictures(24, 16), drawn(1, 4, PRIOR)
    expected = whole(network, images, priors)
    network.to(memory_format=torch.channels_last)
    last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(streamed(network, last, priors, rows=5), expected, atol=1e-5, rtol=0)


def test_a_black_photograph_has_finite_results() -> None:
    network, images = Restormer(**SMALL, prior=None), torch.zeros(1, 3, 16, 16)
    assert streamed(network, images, None, rows=5).isfinite().all()


# --- what is left alone, and kept ---


def test_neither_network_nor_photograph_nor_priors_are_changed() -> None:
    network, images, priors = built(), pictures(16, 16), drawn(1, 4, PRIOR)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    given = images.clone(), priors.clone()
    streamed(network, images, priors, rows=3)
    assert torch.equal(images, given[0])
    assert torch.equal(priors, given[1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_no_gradients_are_kept() -> None:
    network, images = built(), pictures(8, 8).requires_grad_()
    result = streamed(network, images, drawn(1, 4, PRIOR).requires_grad_(), rows=3)
    assert not result.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_no_layer_sees_more_than_a_strip_and_its_two_rows() -> None:
    network, rows, seen = built(), 6, []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2]))
    streamed(network, pictures(64, 8), drawn(1, 4, PRIOR), rows)
    # halving takes two rows for each one of its result, joining two for each one from below
    assert max(seen) == 2 * rows + 2
    seen.clear()
    network(pictures(64, 8), drawn(1, 4, PRIOR))
    assert max(seen) == 64


# --- strips ---


@pytest.mark.parametrize(("height", "rows"), [(8, 3), (8, 4), (8, 8), (8, 9), (3, 1), (1, 1)])
def test_strips_cover_all_rows_once_with_their_neighbours(height: int, rows: int) -> None:
    x = drawn(2, 3, height, 4)
    covered = []
    for strip in strips(x, rows):
        top, bottom = strip.rows.start, strip.rows.stop
        assert torch.equal(strip.framed, x[:, :, max(top - 1, 0) : bottom + 1])
        assert torch.equal(strip.framed[:, :, strip.inner], x[:, :, strip.rows])
        covered += range(top, bottom)
    assert covered == list(range(height))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_strips_see_what_was_there_before_their_neighbours_were_overwritten(rows: int) -> None:
    x = drawn(1, 2, 7, 3)
    before = x.clone()
    for strip in strips(x, rows):
        top, bottom = strip.rows.start, strip.rows.stop
        assert torch.equal(strip.framed, before[:, :, max(top - 1, 0) : bottom + 1])
        x[:, :, strip.rows] = -1
    assert (x == -1).all()


# --- what is refused ---


def test_a_strip_without_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1 row, not 0"):
        streamed(built(), pictures(8, 8), drawn(1, 4, PRIOR), rows=0)


def test_what_the_network_refuses_is_refused_here_too() -> None:
    network, priors = built(), drawn(1, 4, PRIOR)
    for images, given, message in (
        (pictures(8, 12), priors, "multiples of 8, not 12x8"),
        (pictures(8, 8), None, "built with priors"),
        (pictures(8, 8), priors[:, :3], "expected 4 priors"),
    ):
        for way in (whole, streamed):
            with pytest.raises(ValueError, match=message):
                way(network, images, given)


def test_maps_in_files_give_the_same_and_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network, images, priors = built(), pictures(32, 16, count=2), drawn(2, 4, PRIOR)
    expected = streamed(network, images, priors, rows=5)
    monkeypatch.setattr(feature_maps, "IN_MEMORY", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is asked for anew
    torch.testing.assert_close(streamed(network, images, priors, rows=5), expected, atol=0, rtol=0)
    assert not list(tmp_path.iterdir())


def test_a_map_above_the_limit_is_no_memory_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.zeros(1, 3, 8, 8)
    monkeypatch.setattr(feature_maps, "IN_MEMORY", 3 * 16 * 16 * 4)
    assert not feature_maps.feature_map(like, 3, 16, 16).is_shared()
    larger = feature_maps.feature_map(like, 3, 16, 17)
    assert larger.is_shared()
    assert larger.is_contiguous(memory_format=torch.channels_last)


def test_no_room_for_maps_is_told_with_the_folder_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_maps, "IN_MEMORY", 0)
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(feature_maps.NoRoom, match=r"/nowhere: .*TMPDIR"):
        feature_maps.feature_map(torch.zeros(1, 3, 8, 8), 3, 8, 8)
