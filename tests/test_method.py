"""A weight file becomes a function from photographs to results, and nothing else that it may ask for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from weight_files import ENHANCERS, RESTOREX, write_enhancer, write_restorex

from relit.clip import ClipIdentity
from relit.clip_lit import fast
from relit.clip_lit.network import enhance
from relit.clip_loading import load_clip
from relit.clip_restorex.restormer import padded
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator
from relit.method import load_method
from relit.weights import read_weights, write_weights

CPU = torch.device("cpu")


def photograph(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=keyed_generator("photograph", height, width))


def refusal(path: Path) -> str:
    """What is said of a file that is no usable method; it always begins with the file."""
    with pytest.raises(ConfigurationError) as error:
        load_method(path, CPU)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


# --- CLIP-LIT ---


@torch.no_grad()
@pytest.mark.parametrize("node", ENHANCERS.values(), ids=ENHANCERS)
def test_clip_lit_divides_by_the_map_of_its_network(node: dict[str, Any], tmp_path: Path) -> None:
    network = write_enhancer(tmp_path / "w.safetensors", node)
    method = load_method(tmp_path / "w.safetensors", CPU)
    assert method.name == "clip_lit"
    for size in ((17, 23), (2, 9)):
        image = photograph(*size)
        illumination = network(image)
        assert illumination.std() > 1e-3  # a map that says something
        assert torch.equal(method(image), enhance(image, illumination))


@pytest.mark.parametrize("size", [(1, 1), (1, 12), (12, 1), (7, 31)])
@pytest.mark.parametrize("node", ENHANCERS.values(), ids=ENHANCERS)
def test_results_of_any_size_are_of_that_size_and_within_bounds(
    node: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    write_enhancer(tmp_path / "w.safetensors", node)
    result = load_method(tmp_path / "w.safetensors", CPU)(photograph(*size))
    assert result.shape == (1, 3, *size)
    assert not result.requires_grad
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("node", ENHANCERS.values(), ids=ENHANCERS)
def test_clip_lit_gives_the_same_in_tiles(node: dict[str, Any], tmp_path: Path) -> None:
    write_enhancer(tmp_path / "w.safetensors", node)
    method = load_method(tmp_path / "w.safetensors", CPU, tile=16)
    image, sides = photograph(50, 41), []
    expected = load_method(tmp_path / "w.safetensors", CPU)(image)
    for module in method.correct.network.modules():  # type: ignore[attr-defined]
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda _, given: sides.append(given[0].shape[2]))
    torch.testing.assert_close(method(image), expected, atol=1e-4, rtol=0)
    assert max(sides) < 50


@torch.no_grad()
@pytest.mark.parametrize("node", ENHANCERS.values(), ids=ENHANCERS)
def test_clip_lit_fast_takes_the_map_of_the_reduced_photograph(
    node: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = write_enhancer(tmp_path / "w.safetensors", node)
    monkeypatch.setattr(fast, "LONG_SIDE", 24)
    image = photograph(50, 41)
    found = load_method(tmp_path / "w.safetensors", CPU, fast=True)(image)
    assert torch.equal(found, fast.enhance_fast(network, image))
    assert not torch.equal(found, load_method(tmp_path / "w.safetensors", CPU)(image))


@pytest.mark.parametrize("tile", [0, -5])
def test_a_tile_without_pixels_is_refused(tile: int, tmp_path: Path) -> None:
    write_enhancer(tmp_path / "w.safetensors", ENHANCERS["UNet"])
    with pytest.raises(ConfigurationError, match=f"--tile {tile}: a tile has at least 1 pixel"):
        load_method(tmp_path / "w.safetensors", CPU, tile=tile)


def test_tiles_of_a_reduced_photograph_are_refused(tmp_path: Path) -> None:
    write_enhancer(tmp_path / "w.safetensors", ENHANCERS["UNet"])
    with pytest.raises(ConfigurationError, match="--tile with --fast"):
        load_method(tmp_path / "w.safetensors", CPU, tile=64, fast=True)


# --- CLIP-RestoreX ---


def test_clip_restorex_takes_strips_of_as_many_rows_as_a_tile(tmp_path: Path) -> None:
    write_restorex(tmp_path / "w.safetensors")
    method = load_method(tmp_path / "w.safetensors", CPU, tile=3)
    image, rows = photograph(40, 26), []
    expected = load_method(tmp_path / "w.safetensors", CPU)(image)
    method.correct.network.restormer.output.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda _, given: rows.append(given[0].shape[2])
    )
    torch.testing.assert_close(method(image), expected, atol=1e-5, rtol=0)
    assert max(rows) == 3 + 2


def test_clip_restorex_has_no_fast_mode(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_restorex(path)
    with pytest.raises(ConfigurationError, match="--fast is for CLIP-LIT"):
        load_method(path, CPU, fast=True)


@torch.no_grad()
def test_clip_restorex_modulates_by_restored_priors_of_the_clip_that_the_file_names(tmp_path: Path) -> None:
    network = write_restorex(tmp_path / "w.safetensors")
    method = load_method(tmp_path / "w.safetensors", CPU)
    assert method.name == "clip_restorex"
    image = photograph(19, 26)
    whole = padded(image)
    priors = network.restored_priors(image, load_clip("tiny-ViT", "embedded"))
    by_hand = network.restormer(whole, priors)[..., :19, :26].clamp(0, 1)
    assert (by_hand - image).abs().mean() > 1e-3  # a network that does something
    torch.testing.assert_close(method(image), by_hand)
    assert torch.equal(method(image), method(image))


def test_clip_restorex_takes_a_clip_that_is_loaded_already_if_it_is_the_one(tmp_path: Path) -> None:
    path, clip = tmp_path / "w.safetensors", load_clip("tiny-ViT", "embedded")
    write_restorex(path)
    image = photograph(8, 8)
    assert torch.equal(load_method(path, CPU, clip)(image), load_method(path, CPU)(image))
    other = ClipIdentity("tiny-ViT", "embedded", "0" * 16).as_dict()
    write_restorex(path, clip={"prior": other})
    with pytest.raises(ConfigurationError, match="its priors come from the CLIP"):
        load_method(path, CPU, clip)


# --- files that are no finished method ---


@pytest.mark.parametrize("write", [lambda path: write_enhancer(path, ENHANCERS["UNet"]), write_restorex])
def test_a_file_that_lacks_its_group_or_its_method_is_refused_with_the_remedy(
    write: Any, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    write(path)
    weights, metadata = read_weights(path)
    group = next(iter({"enhancer", "restormer"} & weights.keys()))
    write_weights(path, {**weights, group: {}, "prompts": {"embeddings": torch.ones(1)}}, metadata)
    assert group in refusal(path)
    assert "weights.safetensors" in refusal(path)
    write_weights(path, weights, {**metadata, "method": "retinex"})
    assert "'retinex'" in refusal(path)
    write_weights(path, weights, {"stage": "tuning", "steps": 3})  # as stages leave
    assert "not of one of its stages" in refusal(path)
    write_weights(path, weights, {**metadata, "network": None})  # as imported prompts have
    assert "relit import FILE" in refusal(path)


def test_weights_of_another_network_or_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_enhancer(path, ENHANCERS["UNet"], network=ENHANCERS["ResidualPPM"])
    assert "do not fit ResidualPPM" in refusal(path)
    write_enhancer(path, ENHANCERS["UNet"], network={**ENHANCERS["UNet"], "depth": 3})
    assert "depth" in refusal(path)
    write_restorex(path, network=ENHANCERS["UNet"])
    assert "clip_restorex" in refusal(path)
    write_restorex(path, clip={"prior": {"model": "tiny-ViT"}})
    assert "source" in refusal(path)


def test_released_and_missing_files_are_refused_with_the_remedy(tmp_path: Path) -> None:
    released = tmp_path / "enhancement_model.pth"
    released.touch()
    assert f"relit import {released}" in refusal(released)
    assert "no such weight file" in refusal(tmp_path / "absent.safetensors")
    assert f"is a folder. Give the file in it, such as {tmp_path / 'weights.safetensors'}" in refusal(
        tmp_path
    )


# --- files of strangers ---


@pytest.mark.parametrize(
    "target",
    [
        "os.mkdir",
        "torch.nn.Identity",
        "relit.atomic.os.mkdir",  # the name of a module of Relit, and not its own
        "relit.data.photo.atomic_write",
        "relit.atomic.atomic_write",  # a function of Relit that does harm
        "relit.weights.read_weights",
        "relit.clip_lit.network.nn.Identity",
        "relit.nowhere.Network",
        "relitigate.Network",
        "relit.",
        3,
        {"_target_": "os.mkdir"},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["outermost", "below", "in a list"])
def test_nothing_but_networks_of_relit_is_built(target: Any, place: str, tmp_path: Path) -> None:
    path, made = tmp_path / "w.safetensors", tmp_path / "made"
    evil = {"_target_": target, "path": str(made), "content": ""}
    node: dict[str, Any] = copy.deepcopy(RESTOREX)
    if place == "below":
        node["diffusion"]["denoiser"] = evil
    elif place == "in a list":
        node["restormer"]["blocks"] = [1, [evil]]
    else:
        node = evil
    write_restorex(path, network=node)
    assert "no network of Relit" in refusal(path)
    assert not made.exists()


def test_interpolations_that_would_become_other_nodes_are_refused(tmp_path: Path) -> None:
    path, made = tmp_path / "w.safetensors", tmp_path / "made"
    for hidden in ("${oc.create:{_target_:os.mkdir,path:" + str(made) + "}}", "a${b}"):
        write_restorex(path, network={**RESTOREX, "priors": hidden})
        assert "interpolation" in refusal(path)
    hidden = {**RESTOREX, "_target_": "relit.${oc.env:HOME}"}
    write_restorex(path, network=hidden)
    assert "no network of Relit" in refusal(path)
    assert not made.exists()


# --- Both ---


def test_a_torchscript_clip_that_a_weight_file_names_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.script(torch.nn.Linear(1, 1)).save("clip.pt")
    named = ClipIdentity("tiny-ViT", "clip.pt", "0" * 64).as_dict()
    write_restorex(tmp_path / "w.safetensors", clip={"prior": named})
    assert "may run any code" in refusal(tmp_path / "w.safetensors")


WRITERS = {
    "clip_lit": lambda path: write_enhancer(path, ENHANCERS["ResidualPPM"]),
    "clip_restorex": write_restorex,
}


@pytest.mark.parametrize("tile", [None, 24])
@pytest.mark.parametrize("name", WRITERS)
def test_results_of_half_precision_are_close_and_complete(
    name: str, tile: int | None, tmp_path: Path
) -> None:
    WRITERS[name](tmp_path / "w.safetensors")
    image = photograph(40, 56)
    expected = load_method(tmp_path / "w.safetensors", CPU, tile=tile)(image)
    found = load_method(tmp_path / "w.safetensors", CPU, tile=tile, precision="bf16")(image)
    assert found.dtype == torch.float32
    assert 1e-5 < (found - expected).abs().max() < 0.02
    assert abs((found - expected).mean()) < 2e-3  # rounded, not darkened or brightened


def test_clip_lit_takes_no_clip(tmp_path: Path) -> None:
    write_enhancer(tmp_path / "w.safetensors", ENHANCERS["UNet"])
    with pytest.raises(ConfigurationError, match="--clip is for CLIP-RestoreX"):
        load_method(tmp_path / "w.safetensors", CPU, tmp_path / "clip.pt")


def test_a_reduced_map_in_half_precision_is_upsampled_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_enhancer(tmp_path / "w.safetensors", ENHANCERS["ResidualPPM"])
    monkeypatch.setattr(fast, "LONG_SIDE", 24)
    smooth = torch.linspace(0.2, 0.8, 64).expand(1, 3, 48, 64)
    expected = load_method(tmp_path / "w.safetensors", CPU, fast=True)(smooth)
    found = load_method(tmp_path / "w.safetensors", CPU, fast=True, precision="bf16")(smooth)
    assert (found - expected).abs().max() < 0.01


@pytest.mark.parametrize("name", WRITERS)
def test_photographs_at_once_have_the_results_that_each_has_alone(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "w.safetensors")
    method = load_method(tmp_path / "w.safetensors", CPU)
    images = torch.cat([photograph(19, 26), 0.2 * photograph(19, 26).flip(3)])
    alone = torch.cat([method(image[None]) for image in images])
    torch.testing.assert_close(method(images), alone, atol=1e-5, rtol=0)
