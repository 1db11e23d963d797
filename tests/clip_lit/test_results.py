"""What a run reports is what can be recomputed from the pictures it leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.network import UNet, enhance, initialise
from relit.clip_lit.prompts import FixedPrompts, PromptPair
from relit.clip_lit.results import evaluate, save_weights, table
from relit.clip_loading import load_clip
from relit.data.sets import MemoryPairSet, MemoryPhotoSet, Pairs, Photos
from relit.data.unpaired import UnpairedPhotos
from relit.grids import GAP
from relit.keyed import keyed_generator
from relit.run_context import RunContext
from relit.weights import read_weights

LEARNED = {"_target_": "relit.clip_lit.prompts.PromptPair", "_partial_": True, "context": 4}
PHRASES = ["a dark photo", "a well lit photo"]
FIXED = {"_target_": "relit.clip_lit.prompts.FixedPrompts", "phrases": PHRASES}


def photographs(count: int, *size: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(size))
    return [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for _ in range(count)]


class Given(UnpairedPhotos):
    """Photographs that a test brings along."""

    def __init__(self, test: Pairs | None) -> None:
        super().__init__(size=16, test_size=None, batch_size=1, images=False, seed=0, protocol="baid")
        self.given = test
        self.as_published = test is not None

    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        backlit = MemoryPhotoSet(photographs(3, 16, 16), ["b0", "b1", "b2"])
        return backlit, backlit, self.given


def pairs(references: bool = True) -> MemoryPairSet:
    """Two pairs of different sizes; inputs are darker versions of the references."""
    bright = [*photographs(1, 20, 24), *photographs(1, 30, 16)]
    dark = [(image.float() * 0.4).to(torch.uint8) for image in bright]
    return MemoryPairSet(dark, bright if references else None, ["tall-0", "wide-0"])


def network() -> UNet:
    return UNet(channels=(4, 4), initial_map=0.5)


SCALE = 30
"""The logit scale of the run: not the losses' default."""


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


@pytest.fixture(scope="module")
def prompts(clip: FrozenClip) -> PromptPair:
    return PromptPair(clip, context=4, generator=keyed_generator("prompts of the run"))


def context(
    run_dir: Path, clip: FrozenClip, prompts: PromptPair, test: Pairs | None, node: dict[str, Any]
) -> RunContext:
    trained = network()
    initialise(trained, keyed_generator("network"))
    cfg = {
        "name": "mine",
        "seed": 4,
        "plan": ["enhancement"],
        "stage": {"enhancement": {"module": {"prompts": node, "logit_scale": SCALE}}},
        "network": {"_target_": "relit.clip_lit.network.UNet"},
    }
    return RunContext(
        cfg=cfg,
        run_dir=run_dir,
        weights={"enhancer": trained.state_dict(), "prompts": prompts.weights()},
        datamodule=Given(test),
        clip={"prompts": clip},
        network=network,
        device=torch.device("cpu"),
        steps=77,
        logger=None,
    )


def result_of(run: RunContext, image: Tensor) -> np.ndarray:
    """The enhanced photograph as bytes, (H, W, 3)."""
    trained = network()
    trained.load_state_dict(run.weights["enhancer"])
    with torch.no_grad():
        enhanced = enhance(image[None].float() / 255, trained(image[None].float() / 255))
    return (enhanced[0] * 255).round().byte().permute(1, 2, 0).numpy()


def pixels(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def negative_score(clip: FrozenClip, text: Tensor, image: np.ndarray) -> float:
    """Eq. (6) by hand: the softmax over both prompts at the run's scale, its negative part."""
    tensor = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    negative, positive = (SCALE * (clip.encode_image(tensor) @ text.T))[0].tolist()
    return 1 / (1 + math.exp(positive - negative))


def test_metrics_json_equals_scikit_images_figures(
    tmp_path: Path, clip: FrozenClip, prompts: PromptPair
) -> None:
    test = pairs()
    run = context(tmp_path, clip, prompts, test, LEARNED)
    returned = evaluate(run, samples=2)
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["protocol"]["name"] == "baid"
    assert report["protocol"]["test_size"] is None
    assert (report["data"], report["images"], report["seed"], report["steps"]) == ("test", 2, 4, 77)

    text = prompts(clip).detach()
    rows: dict[str, list[np.ndarray]] = {
        "input": [pixels(test[i]["input"]) for i in range(2)],
        "result": [result_of(run, test[i]["input"]) for i in range(2)],
        "reference": [pixels(test[i]["reference"]) for i in range(2)],
    }
    for name, images in rows.items():
        expected = np.mean([negative_score(clip, text, image) for image in images])
        assert report[name]["S"] == pytest.approx(expected, rel=1e-3)
    for name in ("input", "result"):
        both = list(zip(rows["reference"], rows[name], strict=True))
        psnr = np.mean([peak_signal_noise_ratio(*pair) for pair in both])
        ssim = np.mean(
            [
                structural_similarity(
                    reference / 255,
                    image / 255,
                    data_range=1,
                    channel_axis=2,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
                for reference, image in both
            ]
        )
        assert report[name]["psnr"] == pytest.approx(psnr, abs=1e-4)
        assert report[name]["ssim"] == pytest.approx(ssim, abs=1e-5)
    assert returned == {
        **report["result"],
        **{f"input_{key}": value for key, value in report["input"].items()},
    }


def test_samples_are_before_after_and_reference(
    tmp_path: Path, clip: FrozenClip, prompts: PromptPair
) -> None:
    test = pairs()
    run = context(tmp_path, clip, prompts, test, LEARNED)
    evaluate(run, samples=1)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["tall-0.png"]
    grid = np.asarray(Image.open(tmp_path / "samples" / "tall-0.png"))
    pair, step = test[0], 24 + GAP
    assert (grid[:, :24] == pixels(pair["input"])).all()
    assert (grid[:, 24:step] == 255).all()
    assert (grid[:, step : step + 24] == result_of(run, pair["input"])).all()
    assert (grid[:, 2 * step :] == pixels(pair["reference"])).all()


def test_without_references_only_similarity_is_reported(
    tmp_path: Path, clip: FrozenClip, prompts: PromptPair
) -> None:
    returned = evaluate(context(tmp_path, clip, prompts, pairs(references=False), LEARNED), samples=1)
    assert set(returned) == {"S", "input_S"}
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert "reference" not in report
    assert "PSNR" not in table(report)
    assert np.asarray(Image.open(tmp_path / "samples" / "tall-0.png")).shape[1] == 2 * 24 + GAP


@pytest.mark.parametrize(("samples", "expected"), [(2, 2), (9, 3), (0, 1)])
def test_without_a_test_set_training_photographs_are_shown(
    tmp_path: Path, clip: FrozenClip, prompts: PromptPair, samples: int, expected: int
) -> None:
    returned = evaluate(context(tmp_path, clip, prompts, None, LEARNED), samples)
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["images"] == expected
    assert "no references" in report["data"]
    assert report["protocol"]["name"] == "rgb8"  # the data module's protocol is that of its test split
    assert set(returned) == {"S", "input_S"}
    written = list((tmp_path / "samples").glob("*.png"))
    assert len(written) == min(samples, expected)


def test_fixed_phrases_are_scored_with_themselves(
    tmp_path: Path, clip: FrozenClip, prompts: PromptPair
) -> None:
    test = pairs()
    returned = evaluate(context(tmp_path, clip, prompts, test, FIXED), samples=0)
    text = FixedPrompts(PHRASES)(clip)
    expected = np.mean([negative_score(clip, text, pixels(test[i]["input"])) for i in range(2)])
    assert returned["input_S"] == pytest.approx(expected, rel=1e-3)


def test_the_table_shows_input_and_result_with_their_protocol() -> None:
    report = {
        "protocol": {"name": "rgb8"},
        "data": "test",
        "images": 12,
        "seed": 3,
        "steps": 900,
        "input": {"S": 0.9512, "psnr": 11.604, "ssim": 0.5},
        "result": {"S": 0.0401, "psnr": 18.0751, "ssim": 0.82849},
    }
    lines = table(report).splitlines()
    assert [line.split() for line in lines if line.startswith(("input", "result"))] == [
        ["input", "11.60", "0.500", "0.951"],
        ["result", "18.08", "0.828", "0.040"],
    ]
    assert lines[-1] == "12 photographs (test), protocol rgb8, seed 3, 900 steps"


def test_saved_weights_name_network_and_clips(tmp_path: Path, clip: FrozenClip, prompts: PromptPair) -> None:
    run = context(tmp_path, clip, prompts, None, LEARNED)
    run.weights["previous_enhancer"] = {"x": torch.zeros(1)}
    save_weights(run)
    weights, metadata = read_weights(tmp_path / "weights.safetensors")
    assert weights.keys() == {"enhancer", "prompts"}
    assert torch.equal(weights["prompts"]["embeddings"], prompts.weights()["embeddings"])
    network().load_state_dict(weights["enhancer"])
    assert metadata["clip"] == {"prompts": clip.identity.as_dict()}
    assert (metadata["method"], metadata["run"], metadata["steps"]) == ("clip_lit", "mine", 77)
    assert metadata["network"] == run.cfg["network"]
