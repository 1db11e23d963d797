"""A trained network at work on photographs, and the figures that are made of its results."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from weight_files import write_restorex

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.clip_restorex import streaming
from relit.clip_restorex.correction import Correction, load_correction
from relit.clip_restorex.denoisers import ComplexDenoiser
from relit.clip_restorex.diffusion import PriorDiffusion
from relit.clip_restorex.labelled_scores import as_text, by_label
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.prior import ClipPriors
from relit.clip_restorex.restormer import Restormer
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator
from relit.measurement import Measurement
from relit.metrics import image_psnr, image_ssim
from relit.protocols import RGB8
from relit.run_scores import Scored, compared
from relit.weights import read_weights


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


@pytest.fixture(scope="module")
def network() -> RestoreX:
    """With drawn weights, so that priors matter."""
    built = RestoreX(
        partial(Restormer, dim=4, blocks=(1, 1, 1, 1), heads=(1, 1, 1, 1), refinement=1),
        ClipPriors(96, length=8),
        partial(PriorDiffusion, partial(ComplexDenoiser, hidden=8, layers=1)),
    )
    for place, parameter in enumerate(built.parameters()):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=keyed_generator("weights", place))
    return built


def photo(height: int, width: int, key: str = "photo") -> Tensor:
    return torch.rand(1, 3, height, width, generator=keyed_generator(key, height, width))


@pytest.mark.parametrize("size", [(16, 24), (17, 30), (9, 40), (1, 1), (3, 64)])
def test_photographs_of_any_size_keep_it_and_stay_in_range(
    network: RestoreX, clip: FrozenClip, size: tuple[int, int]
) -> None:
    result = Correction(network, clip)(photo(*size))
    assert result.shape == (1, 3, *size)
    assert result.isfinite().all()
    assert result.min() >= 0
    assert result.max() <= 1


def test_the_same_photograph_gives_the_same_result_whatever_was_drawn_before(
    network: RestoreX, clip: FrozenClip
) -> None:
    correct = Correction(network, clip)
    first = correct(photo(16, 16))
    torch.randn(7)
    assert torch.equal(correct(photo(16, 16)), first)


def test_large_photographs_are_streamed_to_the_same_result(
    network: RestoreX, clip: FrozenClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = Correction(network, clip)
    whole = correct(photo(37, 21))
    streamed_sizes = []

    def noted(restormer: Restormer, images: Tensor, priors: Tensor | None, rows: int) -> Tensor:
        streamed_sizes.append(tuple(images.shape[2:]))
        return streamed(restormer, images, priors, rows)

    streamed = streaming.streamed
    monkeypatch.setattr(streaming, "streamed", noted)
    monkeypatch.setattr(streaming, "WHOLE_PIXELS", 37 * 21 - 1)
    torch.testing.assert_close(correct(photo(37, 21)), whole, atol=1e-5, rtol=0)
    assert streamed_sizes == [(40, 24)]


def test_priors_come_from_the_whole_photograph_and_change_the_result(
    network: RestoreX, clip: FrozenClip
) -> None:
    correct, image, reference = Correction(network, clip), photo(16, 16), photo(16, 16, "reference")
    assert network.priors is not None
    with torch.no_grad():
        priors = network.priors(torch.stack(clip.block_features(reference, (3, 6, 9, 12)), dim=1))
        expected = network.restormer(image, priors).clamp(0, 1)
    found = correct.by_priors_of(network.priors, reference, image)
    torch.testing.assert_close(found, expected)
    assert (found - correct(image)).abs().max() > 1e-4


def test_a_file_without_a_part_is_refused_by_its_name(tmp_path: Path, clip: FrozenClip) -> None:
    path = tmp_path / "w.safetensors"
    write_restorex(path, clip={"prior": clip.identity.as_dict()})
    weights, metadata = read_weights(path)
    del weights["priors"]
    with pytest.raises(ConfigurationError, match=r"w\.safetensors: it has no priors"):
        load_correction(weights, metadata, path, torch.device("cpu"), clip)


def test_another_clip_than_the_priors_were_trained_with_is_refused(tmp_path: Path, clip: FrozenClip) -> None:
    path = tmp_path / "w.safetensors"
    write_restorex(path, clip={"prior": {**clip.identity.as_dict(), "digest": "0" * 16}})
    with pytest.raises(ConfigurationError, match=r"w\.safetensors: its priors come from the CLIP tiny-ViT"):
        load_correction(*read_weights(path), path, torch.device("cpu"), clip)


def scored(label: str, *names: str) -> Scored:
    """Input and result, photographs of these names, against a reference."""
    pictures = {kind: photo(16, 12, name) for kind, name in zip(("input", "result"), names, strict=True)}
    if label != "no reference":
        pictures["reference"] = photo(16, 12, "reference")
    measurement = Measurement(RGB8, ("psnr", "ssim"), torch.device("cpu"))
    return Scored(0, "a", label, compared(measurement, pictures, ("input", "result")))


def test_figures_are_means_over_all_and_by_label() -> None:
    scores, expected = [], dict[str, list[tuple[float, float]]](under=[], over=[])
    reference = photo(16, 12, "reference")
    for place, label in enumerate(("under", "over", "under")):
        result = photo(16, 12, f"result {place}")
        scores.append(scored(label, "reference", f"result {place}"))
        expected[label].append((image_psnr(result, reference).item(), image_ssim(result, reference).item()))
    found = by_label(scores)
    every = [figures for of_label in expected.values() for figures in of_label]
    for figures, row in (
        (every, found["result"]),
        *((expected[label], found["by_label"][label]["result"]) for label in expected),
    ):
        assert row["psnr"] == pytest.approx(sum(psnr for psnr, _ in figures) / len(figures), rel=1e-6)
        assert row["ssim"] == pytest.approx(sum(ssim for _, ssim in figures) / len(figures), rel=1e-6)
    assert found["input"]["ssim"] == pytest.approx(1)


def test_photographs_without_reference_or_label_are_no_rows_of_their_own() -> None:
    without = scored("no reference", "a", "b")
    assert by_label([without]) == {"input": {}, "result": {}}
    assert "by_label" not in by_label([without, scored("", "a", "b")])


def test_the_table_says_what_figures_by_the_references_priors_are() -> None:
    row = {kind: {"psnr": 20.0, "ssim": 0.5} for kind in ("input", "result", "by_reference_priors")}
    report = {
        **row, "by_label": {"over": row}, "images": 2, "data": "test",
        "protocol": {"name": "rgb8"}, "seed": 0, "steps": 3,
    }  # fmt: skip
    text = as_text(report)
    assert "nobody has them at hand" in text
    assert "protocol rgb8, seed 0, 3 steps" in text
    del report["by_reference_priors"], report["by_label"]["over"]["by_reference_priors"]
    assert "nobody" not in as_text(report)
