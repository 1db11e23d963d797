"""The stages of CLIP-RestoreX: what they train, log and hand over.

One run of the whole plan is recomputed: the losses that each stage logs at its first step must be the paper's
equations, written out here, on the weights that the stages before handed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from small_restorex import STAGES, STEPS, batch_at, composed, logged
from torch import Tensor

from relit.clip_loading import load_clip
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.prior_stage import PriorWarmUp
from relit.clip_restorex.restormer_stages import RestoredPriors
from relit.data.photo import read_photo
from relit.data.photographs import photographs
from relit.errors import ConfigurationError
from relit.instantiation import build
from relit.keyed import keyed_generator, keyed_seed
from relit.stages import run_stages
from relit.weights import Weights, read_weights

BLOCKS = (3, 6, 9, 12)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, validated after each step."""
    folder = tmp_path_factory.mktemp("restorex") / "run"
    run_stages(composed(folder))
    return folder


@pytest.fixture(scope="module")
def config(run_dir: Path) -> dict[str, Any]:
    config: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"), resolve=True)  # type: ignore[assignment]
    return config


def weights_after(run_dir: Path, index: int) -> Weights:
    return read_weights(run_dir / "stages" / f"{index}-{STAGES[index - 1]}" / "weights.safetensors")[0]


def network_with(config: Mapping[str, Any], groups: Mapping[str, Mapping[str, Tensor]]) -> RestoreX:
    """The configured network with these parts."""
    network: RestoreX = build(config["network"])
    for name, tensors in groups.items():
        getattr(network, name).load_state_dict(dict(tensors))
    return network.eval()


def first_batch(config: Mapping[str, Any], stage: str) -> tuple[Tensor, Tensor, list[int]]:
    """Input, reference and positions of the stage's first step."""
    datamodule = build({**config["data"], **config["stage"][stage]["data"]})
    batch = batch_at(datamodule, 0)
    return batch["input"] / 255, batch["reference"] / 255, batch["position"].tolist()


def block_tokens(images: Tensor) -> Tensor:
    """Class tokens of the four blocks, (B, 4, W), straight from the embedded CLIP."""
    return torch.stack(load_clip("tiny-ViT", "embedded").block_features(images, BLOCKS), dim=1)


def test_stage_1_hands_over_what_it_trained(run_dir: Path) -> None:
    assert set(weights_after(run_dir, 1)) == {"restormer", "reference_priors"}
    assert set(weights_after(run_dir, 3)) == {"restormer", "reference_priors", "priors", "diffusion"}


def test_the_warm_up_starts_at_stage_1s_converter_and_moves_it_but_not_the_target(
    run_dir: Path, config: dict[str, Any]
) -> None:
    one, two, three = (weights_after(run_dir, index) for index in (1, 2, 3))
    for later in (two, three):
        for name, tensor in one["reference_priors"].items():
            assert torch.equal(tensor, later["reference_priors"][name])
            assert not torch.equal(tensor, later["priors"][name])
    # two steps of Adam move each weight by at most about twice the learning rate
    rate = config["stage"]["prior_warm_up"]["module"]["optimizer"]["lr"]
    for name, tensor in one["reference_priors"].items():
        assert (tensor - two["priors"][name]).abs().max() < 3 * rate
    for name, tensor in one["restormer"].items():
        assert torch.equal(tensor, two["restormer"][name])
    assert any(not torch.equal(tensor, three["restormer"][name]) for name, tensor in one["restormer"].items())


def test_the_first_loss_of_the_warm_up_is_eq_8_of_the_restored_priors(
    run_dir: Path, config: dict[str, Any]
) -> None:
    inputs, reference, positions = first_batch(config, "prior_warm_up")
    seed = keyed_seed(config["seed"], 2, "prior_warm_up")
    torch.manual_seed(seed)
    converter = weights_after(run_dir, 1)["reference_priors"]
    # the diffusion is drawn anew by the stage's seed
    network = network_with(config, {"priors": converter})
    assert network.priors is not None
    assert network.diffusion is not None
    noise = torch.stack(
        [torch.randn(1, 4, 16, generator=keyed_generator(seed, "diffusion", one)) for one in positions]
    )
    with torch.no_grad():
        target = network.priors(block_tokens(reference))
        restored = network.diffusion(network.priors(block_tokens(inputs)), noise, target)
    expected = sum(float((restored - target).abs()[:, i].mean()) for i in range(4))
    assert logged(run_dir, "prior_warm_up/prior")[0] == pytest.approx(expected, rel=1e-5)


def test_the_first_loss_of_stage_2_is_eq_10(run_dir: Path, config: dict[str, Any]) -> None:
    inputs, reference, positions = first_batch(config, "restored_priors")
    seed = keyed_seed(config["seed"], 3, "restored_priors")
    two = weights_after(run_dir, 2)
    network = network_with(config, {name: two[name] for name in ("restormer", "priors", "diffusion")})
    assert network.priors is not None
    assert network.diffusion is not None
    frozen = build(config["network"]["priors"])
    frozen.load_state_dict(two["reference_priors"])
    noise = torch.stack(
        [torch.randn(1, 4, 16, generator=keyed_generator(seed, "diffusion", one)) for one in positions]
    )
    with torch.no_grad():
        seen = block_tokens(reference)
        target = frozen(seen)
        restored = network.diffusion(network.priors(block_tokens(inputs)), noise, target)
        result = network.restormer(inputs, restored)
        sap = sum(float((block_tokens(result) - seen)[:, i].abs().mean()) for i in range(4))
        sap *= config["stage"]["restored_priors"]["module"]["sap"]["weight"]
        prior = sum(float((restored - target).abs()[:, i].mean()) for i in range(4))
        l1 = float((result - reference).abs().mean())
    for name, expected in {"prior": prior, "l1": l1, "sap": sap, "loss": prior + l1 + sap}.items():
        assert logged(run_dir, f"restored_priors/{name}")[0] == pytest.approx(expected, rel=1e-4), name


def test_stage_1_is_trained_on_the_references_own_priors(run_dir: Path, config: dict[str, Any]) -> None:
    inputs, reference, _ = first_batch(config, "reference_priors")
    torch.manual_seed(keyed_seed(config["seed"], 1, "reference_priors"))
    network = network_with(config, {})
    assert network.priors is not None
    with torch.no_grad():
        result = network.restormer(inputs, network.priors(block_tokens(reference)))
    l1 = float((result - reference).abs().mean())
    assert logged(run_dir, "reference_priors/l1")[0] == pytest.approx(l1, rel=1e-4)


def test_figures_by_the_references_priors_are_called_so(run_dir: Path) -> None:
    report = json.loads((run_dir / "metrics.json").read_text())
    assert set(report["by_reference_priors"]) == {"psnr", "ssim"}
    assert report["protocol"]["name"] == "rgb8"
    assert math.isclose(
        report["result"]["psnr"],
        sum(row["result"]["psnr"] * share for row, share in shares(report)),
        rel_tol=1e-5,
    )


def shares(report: dict[str, Any]) -> list[tuple[dict[str, Any], float]]:
    """Each label's figures and its share of the photographs, which the sample's faults determine."""
    rows = report["by_label"]
    config = OmegaConf.to_container(composed(Path("unused")).data, resolve=True)
    datamodule = build(config)  # type: ignore[arg-type]
    datamodule.setup()
    labels = [datamodule.test[i]["label"] for i in range(len(datamodule.test))]
    assert len(labels) == len(photographs("test")) == report["images"]
    return [(rows[label], labels.count(label) / len(labels)) for label in rows]


def test_validation_of_stage_1_says_in_its_name_that_the_reference_was_asked(tmp_path: Path) -> None:
    run_stages(
        composed(
            tmp_path / "run", "plan=[reference_priors]", "validate_every=1", "data.held_out=2", "finish=[]"
        )
    )
    assert len(logged(tmp_path / "run", "val/psnr_by_reference_priors")) == STEPS
    header = (tmp_path / "run" / "logs" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert "val/psnr" not in header.split(",")


def test_validation_shows_pictures_spread_over_the_pairs(tmp_path: Path) -> None:
    """Input, result and reference side by side, of early and late ones, at the step of the figures."""
    plan = (
        "plan=[reference_priors]", "validate_every=1", "data.held_out=3", "data.exposures=2", "finish=[]"
    )  # fmt: skip
    run_stages(composed(tmp_path / "run", *plan))
    folders = sorted((tmp_path / "run" / "logs" / "version_0" / "pictures").iterdir())
    assert [int(folder.name) for folder in folders] == list(range(STEPS))
    shown = sorted((folders[-1] / "val").glob("*.png"))
    assert len(shown) == 4
    config: Any = OmegaConf.to_container(composed(tmp_path / "run", *plan).data, resolve=True)
    datamodule = build(config)
    datamodule.setup()
    pair = datamodule.validation[0]
    assert pair["name"] in {path.stem for path in shown}
    grid = read_photo(next(path for path in shown if path.stem == pair["name"]))
    width = pair["input"].shape[2]
    assert torch.equal(grid[..., :width], pair["input"])
    assert torch.equal(grid[..., -width:], pair["reference"])


class KilledError(Exception):
    """What ends the process in the tests."""


@pytest.mark.parametrize("stage", ["prior_warm_up", "restored_priors"])
def test_a_run_that_is_killed_within_a_stage_goes_on_to_the_same_weights(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """In its second step, after a checkpoint of the first: with Adam's moments and the schedule's place."""
    kind = {"prior_warm_up": PriorWarmUp, "restored_priors": RestoredPriors}[stage]
    step = kind.training_step

    def killed(self: Any, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step == 1:
            raise KilledError
        return step(self, batch, batch_idx)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(kind, "training_step", killed)
        with pytest.raises(KilledError):
            run_stages(composed(run, "checkpoint_every=1"))
    place = STAGES.index(stage) + 1
    assert (run / "stages" / f"{place}-{stage}" / "checkpoints" / "last.ckpt").is_file()
    run_stages(composed(run, "checkpoint_every=1"))
    for group, tensors in weights_after(run_dir, 3).items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, weights_after(run, 3)[group][name]), (group, name)


def test_a_plan_that_ends_with_stage_1_ends_well_and_says_what_it_has(tmp_path: Path) -> None:
    """Figures by the reference's priors alone, grids without a result, and no file that looks finished."""
    run = tmp_path / "run"
    metrics = run_stages(composed(run, "plan=[reference_priors]"))
    report = json.loads((run / "metrics.json").read_text())
    assert report["result"] == {}
    assert report["by_reference_priors"]["psnr"] > 0
    assert "psnr" not in metrics
    assert metrics["input_psnr"] == pytest.approx(report["input"]["psnr"])
    assert not (run / "weights.safetensors").exists()
    assert list((run / "samples").iterdir())


def test_figures_by_the_references_priors_may_be_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_stages(composed(run, "finish.1.by_reference_priors=false"))
    report = json.loads((run / "metrics.json").read_text())
    assert report["result"]["psnr"] > 0
    assert "by_reference_priors" not in report


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("network.diffusion.denoiser.layers=0", r"network\.diffusion\.denoiser\.layers=0: expected at least"),
        ("network.diffusion.denoiser.hidden=0", r"network\.diffusion\.denoiser\.hidden=0: expected at least"),
        ("network.diffusion.steps=0", r"network\.diffusion\.steps: expected at least 1"),
        ("network.priors.length=0", r"network\.priors\.length=0: expected at least 1"),
        ("network.restormer.refinement=-1", r"network\.restormer: expected 0 blocks or more"),
        ("network.restormer.blocks=[1,1,1,-2]", r"network\.restormer: expected 0 blocks or more"),
        ("network.restormer.expansion=0.01", r"network\.restormer\.expansion=0\.01: nothing is left"),
        ("clip.sap_weight=0", r"sap\.weight=0: expected more than 0"),
    ],
)
def test_sizes_that_make_no_network_are_refused_by_their_key(
    tmp_path: Path, override: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        run_stages(composed(tmp_path / "run", override))


def test_a_negative_weight_of_eq_6_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"noise_weight=-1\.0: expected 0 or more"):
        run_stages(composed(tmp_path / "run", "stage.restored_priors.module.noise_weight=-1.0"))


@pytest.mark.parametrize("stage", ["prior_warm_up", "restored_priors"])
def test_a_stage_2_without_stage_1_is_refused_with_the_remedy(tmp_path: Path, stage: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no reference_priors was handed over.*start=RUN"):
        run_stages(composed(tmp_path / "run", f"plan=[{stage}]"))


def test_stage_2_goes_on_from_the_stage_1_of_another_run(run_dir: Path, tmp_path: Path) -> None:
    start = run_dir / "stages" / "1-reference_priors" / "weights.safetensors"
    metrics = run_stages(
        composed(tmp_path / "run", "plan=[prior_warm_up, restored_priors]", f"start={start}")
    )
    assert math.isfinite(metrics["psnr"])


def test_samples_are_spread_over_the_test_photographs(tmp_path: Path) -> None:
    """Three of six, so that every kind of exposure is seen where one follows the other."""
    run = tmp_path / "run"
    run_stages(composed(run, "data.exposures=2", "finish.1.samples=3"))
    scenes = [photograph.name for photograph in photographs("test")]
    names = [f"{scene}-{exposure}" for scene in scenes for exposure in range(2)]
    assert {path.stem for path in (run / "samples").iterdir()} == set(names[::2])
