"""``relit export``: files that compute what the weights do, and what stands in for what formats lack."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from weight_files import ENHANCERS, RESTOREX, write_enhancer, write_restorex

from relit.cli import main
from relit.clip_restorex.correction import Correction
from relit.clip_restorex.denoisers import (
    AmplitudePhaseDenoiser,
    ComplexDenoiser,
    Denoiser,
    DenseFrequencyDenoiser,
    SpatialDenoiser,
)
from relit.clip_restorex.restormer import padded
from relit.errors import ConfigurationError
from relit.export.exportable import exportable
from relit.export.real_denoisers import in_real_numbers
from relit.export.resampling import AveragedBins, leading, mirrored_places, repeated_places, resized
from relit.export.verified import checked_difference
from relit.instantiation import build
from relit.keyed import keyed_generator
from relit.method import Method, load_method

CPU = torch.device("cpu")
SIDES = (1, 2, 3, 5, 8, 9, 13, 16, 31, 40)


def photographs(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=keyed_generator("photographs", *shape))


def results(method: Method, batch: Tensor) -> Tensor:
    return torch.cat([method(photograph[None]) for photograph in batch])


# --- what stands in for what formats lack ---


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_averaged_bins_are_adaptive_pooling(bins: int) -> None:
    for height in SIDES:
        for width in SIDES:
            x = photographs(2, 3, height, width)
            torch.testing.assert_close(AveragedBins(bins)(x), nn.AdaptiveAvgPool2d(bins)(x))


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(16, 16), (7, 12)])
def test_images_are_resized_as_towers_resize_them(size: tuple[int, int], antialias: bool) -> None:
    for height, width in ((16, 16), (1, 5), (9, 40), (33, 12), (200, 161), (16, 3)):
        x = photographs(2, 3, height, width)
        expected = F.interpolate(x, size, mode="bilinear", antialias=antialias, align_corners=False)
        torch.testing.assert_close(resized(x, size, antialias), expected, atol=2e-6, rtol=0)


def test_places_pad_images_and_cut_them_back() -> None:
    for height in SIDES:
        for width in SIDES:
            x = photographs(1, 3, height, width)
            mirrored = x[:, :, mirrored_places(height, 8, CPU)][..., mirrored_places(width, 8, CPU)]
            assert torch.equal(mirrored, padded(x))
            repeated = x[:, :, repeated_places(height, 4, CPU)][..., repeated_places(width, 4, CPU)]
            assert torch.equal(repeated, F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate"))
            assert torch.equal(leading(repeated, height, width), x)


@torch.no_grad()
@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize(
    "kind", [SpatialDenoiser, DenseFrequencyDenoiser, ComplexDenoiser, AmplitudePhaseDenoiser]
)
def test_denoisers_in_real_numbers_are_the_same_functions(kind: type[Denoiser], length: int) -> None:
    network = kind(length, 4, 16, 2)
    for parameter in network.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=keyed_generator("weights")))
    real = in_real_numbers(copy.deepcopy(network))
    x, condition = torch.randn(2, 3, 4, length, generator=keyed_generator("priors")).unbind()
    answers = []
    for one in (network, real):
        answers.append(one.prior(one(one.coordinates(x), one.coordinates(condition), 0.5)))
        assert not (one is real and one.coordinates(x).is_complex())
    assert answers[0].std() > 0.01
    torch.testing.assert_close(answers[1], answers[0])


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 3, 40, 52), (1, 3, 9, 131), (1, 3, 128, 128)])
@pytest.mark.parametrize("priors", ["clip", "image", "none"])
def test_clip_restorex_is_the_same_in_its_exportable_form(
    priors: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Photographs above, below and of the size of the tower."""
    write_restorex(tmp_path / "w.safetensors")
    method = load_method(tmp_path / "w.safetensors", CPU)
    if priors != "clip":
        encoder = {"_target_": "relit.clip_restorex.prior.ImagePriors", "channels": 8, "length": 16}
        node = {"priors": encoder} if priors == "image" else {"priors": None, "diffusion": None}
        method = Method("clip_restorex", CPU, Correction(build({**RESTOREX, **node}), None))
    found, expected = exportable(method)(photographs(*shape)), results(method, photographs(*shape))
    assert (expected - photographs(*shape)).abs().mean() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# --- files ---


def loaded(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    """The function in a file and what the file says of itself, as somebody without Relit reads it."""
    if path.suffix == ".pt2":
        extra = {"relit.json": ""}
        program = torch.export.load(path, extra_files=extra)
        return program.module(), json.loads(extra["relit.json"])
    runtime = pytest.importorskip("onnxruntime", reason="runs .onnx files")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    described = dict(session.get_modelmeta().custom_metadata_map)
    return lambda x: torch.from_numpy(session.run(["results"], {"photographs": x.numpy()})[0]), described


def check_file(weights: Path, path: Path, sizes: list[tuple[int, int, int]]) -> dict[str, str]:
    """Compare the file with the weights; give what it says of itself."""
    if path.suffix == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason="writes .onnx files")
    assert main(["export", "--weights", str(weights), "-o", str(path)]) == 0
    function, described = loaded(path)
    method = load_method(weights, CPU)
    with torch.no_grad():
        for batch, height, width in sizes:
            x = photographs(batch, 3, height, width)
            torch.testing.assert_close(function(x), results(method, x), atol=1e-5, rtol=0)
    assert described["relit"] == version("relit")
    assert described["method"] == method.name
    assert described["run"] == "toy"
    return described


@pytest.mark.parametrize(
    ("name", "smallest", "suffix"),
    [
        ("UNet", 3, ".onnx"),
        pytest.param("UNet", 3, ".pt2", marks=pytest.mark.slow),
        pytest.param("ResidualPPM", 2, ".onnx", marks=pytest.mark.slow),
        pytest.param("ResidualPPM", 2, ".pt2", marks=pytest.mark.slow),
    ],
)
def test_clip_lit_in_a_file_takes_photographs_of_any_size(
    name: str, smallest: int, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, path = tmp_path / "w.safetensors", tmp_path / f"model{suffix}"
    write_enhancer(weights, ENHANCERS[name])
    sizes = [(1, smallest, smallest), (3, 29, 6), (1, 64, 80), (2, 37, 45), (1, 7, 101)]
    described = check_file(weights, path, sizes)
    assert json.loads(described["network"]) == ENHANCERS[name]
    assert f"H and W from {smallest} pixels" in described["input"]
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: clip_lit, ")
    assert float(said.split()[-3]) < 1e-5
    assert {file.name for file in tmp_path.iterdir()} == {"w.safetensors", path.name}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize(("name", "smallest"), [("UNet", 7), ("ResidualPPM", 4)])
def test_a_network_that_sees_reduced_photographs_in_a_file_takes_any_size(
    name: str, smallest: int, suffix: str, tmp_path: Path
) -> None:
    weights = tmp_path / "w.safetensors"
    write_enhancer(weights, {**ENHANCERS[name], "illumination_scale": 3})
    sizes = [(1, smallest, smallest), (3, 29, 8), (1, 64, 80), (2, 37, 45)]
    described = check_file(weights, tmp_path / f"model{suffix}", sizes)
    assert f"H and W from {smallest} pixels" in described["input"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_clip_restorex_in_a_file_takes_photographs_of_any_size(suffix: str, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    write_restorex(weights)
    sizes = [(1, 9, 9), (3, 29, 10), (1, 128, 128), (2, 150, 45)]
    described = check_file(weights, tmp_path / f"model{suffix}", sizes)
    assert json.loads(described["clip"])["prior"]["model"] == "tiny-ViT"
    assert "H and W from 9 pixels" in described["input"]


@pytest.mark.slow
def test_the_released_network_in_a_file_enhances_a_real_photograph(shared: Path, tmp_path: Path) -> None:
    from relit.data.photo import read_photo

    released = shared / "checkpoints" / "clip_lit" / "enhancement_model.pth"
    weights = tmp_path / "w.safetensors"
    assert main(["import", str(released), "-o", str(weights)]) == 0
    photo = read_photo(sorted((shared / "photos" / "backlit").iterdir())[0])[None] / 255
    photo = F.interpolate(photo, (171, 256), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    expected = load_method(weights, CPU)(photo)
    for suffix in (".pt2", ".onnx"):
        path = tmp_path / f"model{suffix}"
        assert main(["export", "--weights", str(weights), "-o", str(path)]) == 0
        with torch.no_grad():
            difference = (loaded(path)[0](photo) - expected).abs().max()
        print(f"{suffix}: {difference:.1e}")
        assert difference < 1e-4


# --- refusals ---


def refusal(capsys: pytest.CaptureFixture[str], weights: Path, output: Path, *more: str) -> str:
    """What is said when the command is refused with status 2."""
    assert main(["export", "--weights", str(weights), "-o", str(output), *more]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("relit export: ")
    return said.err


def test_what_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, existing = tmp_path / "none.safetensors", tmp_path / "model.pt2"
    existing.write_text("mine")
    assert "ends in one of .pt2, .onnx" in refusal(capsys, missing, tmp_path / "model.pth")
    assert "--force" in refusal(capsys, missing, existing)
    assert "no such weight file" in refusal(capsys, missing, existing, "--force")
    assert existing.read_text() == "mine"


def test_a_missing_package_is_named_with_the_way_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_enhancer(tmp_path / "w.safetensors", ENHANCERS["UNet"])
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = refusal(capsys, tmp_path / "w.safetensors", tmp_path / "model.onnx")
    assert 'the package onnx, which is not installed. Use pip install -e ".[export]"' in said


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    write_enhancer(tmp_path / "w.safetensors", ENHANCERS["UNet"])
    method = load_method(tmp_path / "w.safetensors", CPU)
    assert checked_difference(lambda x: results(method, x) + 5e-5, method) == pytest.approx(5e-5, rel=0.01)
    for wrong in (2e-4, torch.nan):
        with pytest.raises(ConfigurationError, match="differ from those of the weights by up to"):
            checked_difference(lambda x, wrong=wrong: results(method, x) + wrong, method)
