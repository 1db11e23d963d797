"""CLIP-RestoreX's ablations and tables: what each changes, that it is accepted, that every stage trains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from compositions import ROOT, composed, configurations, jobs, stages, table_of, task
from omegaconf import DictConfig, OmegaConf
from replicas import put
from safetensors.torch import save_file
from warm_start import start

from relit.checks import check_configuration
from relit.clip_restorex.denoisers import ComplexDenoiser, SpatialDenoiser
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.prior import ClipPriors, ImagePriors
from relit.instantiation import build
from relit.stages import run_stages
from relit.weights import Weights, read_weights

ABLATIONS = sorted(path.stem for path in (ROOT / "conf" / "ablation").glob("restorex_*.yaml"))
BLOCKS = {"shallow": [1, 2, 3, 4], "deep": [9, 10, 11, 12], "spread": [3, 6, 9, 12]}
TABLES = {
    "restorex_table2": [f"restorex_blocks_{name}" for name in BLOCKS],
    "restorex_table3": [
        "restorex_plain",
        "restorex_plain_sap",
        "restorex_image_encoder",
        "restorex_dm",
        "restorex_no_sap",
        "none",
    ],
}
FULL = ["reference_priors", "prior_warm_up", "restored_priors"]
PLAIN = ["plain_restoration", "plain_refinement"]
WITHOUT_CLIP = ["restorex_plain", "restorex_image_encoder"]

NARROW = [
    "network.restormer.dim=8", "network.restormer.blocks=[1,1,1,1]", "network.restormer.heads=[1,1,1,1]",
    "network.restormer.refinement=1",
    *(f"stage.{name}.data.{setting}" for name in ("reference_priors", "restored_priors")
      for setting in ("crop=16", "batch_size=2")),
    *(f"stage.{name}.steps=2" for name in FULL),
    "trainer=cpu", "logger=none", "progress=false", "threads=1",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _configurations() -> Iterator[None]:
    with configurations():
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that name two pairs of noise to train on and one to test on."""
    root = tmp_path_factory.mktemp("pairs")
    for split, count in (("train", 2), ("test", 1)):
        for kind in ("input", "reference"):
            for number in range(count):
                put(root / f"{split}_{kind}" / f"{number}.png", 24, 16)
    folders = [f"data.layout.{kind}={root / kind}" for kind in sorted(path.name for path in root.iterdir())]
    return ["data=pairs", *folders]


def method(ablation: str, *overrides: str) -> DictConfig:
    return composed("experiment=clip_restorex_lcdp", f"ablation={ablation}", *overrides)


def network_of(cfg: DictConfig) -> RestoreX:
    network = build(OmegaConf.to_container(cfg.network, resolve=True))
    assert isinstance(network, RestoreX)
    return network


def sap_of(cfg: DictConfig) -> list[bool]:
    """Whether each stage of the plan that trains a Restormer has an L_SAP."""
    modules = [cfg.stage[name].module for name in stages(cfg)]
    return [module.sap is not None for module in modules if "sap" in module]


# --- the overrides ---


@pytest.mark.parametrize("experiment", ["clip_restorex_lcdp", "clip_restorex_small"])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_ablation_is_accepted_and_trains_the_restormer_as_long_as_the_full_method(
    ablation: str, experiment: str
) -> None:
    full, cfg = (
        composed(f"experiment={experiment}"),
        composed(f"experiment={experiment}", f"ablation={ablation}"),
    )
    check_configuration(task(cfg))
    assert stages(full) == FULL
    assert stages(cfg) == (PLAIN if "plain" in ablation else FULL)
    assert cfg.stage[stages(cfg)[0]].steps == full.stage.reference_priors.steps
    assert cfg.stage[stages(cfg)[-1]].steps == full.stage.restored_priors.steps
    assert [cfg.stage[stages(cfg)[place]].data for place in (0, -1)] == [
        full.stage[name].data for name in ("reference_priors", "restored_priors")
    ]


@pytest.mark.parametrize(
    ("ablation", "priors", "denoiser", "sap"),
    [
        ("restorex_plain", None, None, False),
        ("restorex_plain_sap", None, None, True),
        ("restorex_image_encoder", ImagePriors, SpatialDenoiser, False),
        ("restorex_dm", ClipPriors, SpatialDenoiser, False),
        ("restorex_no_sap", ClipPriors, ComplexDenoiser, False),
        ("none", ClipPriors, ComplexDenoiser, True),
        ("restorex_no_diffusion", ClipPriors, None, True),
        ("restorex_imagenet", ClipPriors, ComplexDenoiser, True),
        ("restorex_printed", ClipPriors, ComplexDenoiser, True),
    ],
)
def test_parts_that_are_left(ablation: str, priors: type | None, denoiser: type | None, sap: bool) -> None:
    cfg = method(ablation, *NARROW)
    network = network_of(cfg)
    assert type(network.priors) is (priors or type(None))
    if denoiser is None:
        assert network.diffusion is None
    else:
        assert network.diffusion is not None
        assert type(network.diffusion.denoiser) is denoiser
    assert sap_of(cfg) == [sap, sap]


@pytest.mark.parametrize("name", BLOCKS)
def test_table_2_has_dm_no_l_sap_and_its_blocks(name: str) -> None:
    cfg, dm = method(f"restorex_blocks_{name}"), method("restorex_dm")
    assert cfg.network.priors.blocks == BLOCKS[name]
    cfg.network.priors.blocks = dm.network.priors.blocks
    assert task(cfg) == task(dm)


def test_the_blocks_of_l_sap_are_its_own() -> None:
    cfg = composed("experiment=clip_restorex_lcdp", "network.priors.blocks=[1,2,3,4]")
    assert cfg.stage.restored_priors.module.sap.blocks == [3, 6, 9, 12]


@pytest.mark.parametrize("ablation", WITHOUT_CLIP)
def test_what_asks_no_clip_needs_none(ablation: str) -> None:
    assert "clip" not in method(ablation)
    kept = method(ablation, "clip=openai_prior", "clip.prior.pretrained=file.pt")
    assert kept.clip.prior.pretrained == "file.pt"


@pytest.mark.parametrize("length", [64, 256])
def test_the_image_encoders_priors_are_as_long_as_its_denoiser_is_wide(length: int) -> None:
    cfg = method("restorex_image_encoder", f"network.diffusion.denoiser.hidden={length}", *NARROW)
    network = network_of(cfg)
    assert network.priors is not None
    assert network.priors.length == network.restormer.prior == length


@pytest.mark.parametrize("clip", ["openai_prior", "tiny_prior"])
def test_the_imagenet_control_replaces_what_priors_are_made_from_whatever_the_clip(clip: str) -> None:
    cfg = method("restorex_imagenet", f"clip={clip}")
    assert task(cfg).clip == task(method("none", "clip=imagenet_prior")).clip
    assert cfg.clip.prior._target_ == "relit.imagenet.load_imagenet_vit"
    assert cfg.clip.sap._target_ == "relit.clip_loading.load_clip"
    name = f"{cfg.clip.prior.model}.{cfg.clip.prior.pretrained}"
    assert name in timm.list_pretrained("vit_base_patch32_224.*")
    assert "in21k" not in name
    assert cfg.network.priors.width == cfg.clip.width == 768


def test_printed_equations_predict_noise_and_add_some() -> None:
    cfg = method("restorex_printed", *NARROW)
    diffusion = network_of(cfg).diffusion
    assert diffusion is not None
    assert diffusion.predicts == "noise"
    assert diffusion.reverse_variance(1) == diffusion.schedule.beta[1] > 0
    assert {cfg.stage[name].module.noise_weight for name in FULL[1:]} == {1.0}


# --- training ---


def trained(run_dir: Path, *overrides: str) -> list[Weights]:
    """What each stage hands over after two steps."""
    cfg = composed("experiment=clip_restorex", *NARROW, *overrides, f"run_dir={run_dir}", "name=run")
    check_configuration(task(cfg))
    run_stages(task(cfg))
    folders = [f"{place}-{name}" for place, name in enumerate(stages(cfg), start=1)]
    return [read_weights(run_dir / "stages" / folder / "weights.safetensors")[0] for folder in folders]


def vit_file(path: Path) -> Path:
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "ablation",
    # sets of blocks differ in numbers alone
    [pytest.param(name, marks=[pytest.mark.slow] * name.endswith(("deep", "spread"))) for name in ABLATIONS],
)
def test_every_stage_of_every_ablation_trains(ablation: str, pairs: list[str], tmp_path: Path) -> None:
    overrides = [f"ablation={ablation}", *pairs, "finish=[]"]
    if ablation not in WITHOUT_CLIP:
        overrides += ["clip=tiny_prior"]
    if "plain" not in ablation:
        overrides += ["network.priors.length=16"]
    if ablation == "restorex_image_encoder":
        overrides += ["network.priors.channels=8", "network.priors.residual_blocks=1"]
    if ablation == "restorex_imagenet":
        overrides += [
            "clip.prior.model=test_vit", f"clip.prior.pretrained={vit_file(tmp_path / 'vit.safetensors')}",
            "clip.width=64", "network.priors.blocks=[1,2,4,6]",
            "clip.sap.model=tiny-ViT", "clip.sap.pretrained=embedded",
        ]  # fmt: skip
    first, *_, last = trained(tmp_path / "run", *overrides)
    network = network_of(composed("experiment=clip_restorex", *NARROW, *overrides))
    parts = {name: getattr(network, name) for name in ("restormer", "priors", "diffusion")}
    there = {name: part.state_dict() for name, part in parts.items() if part is not None}
    assert set(last) == set(there) | ({"reference_priors"} if "priors" in there else set())
    for name, state in there.items():
        assert {key: tensor.shape for key, tensor in last[name].items()} == {
            key: tensor.shape for key, tensor in state.items()
        }
        assert all(torch.isfinite(tensor).all() for tensor in last[name].values())
    assert any(not torch.equal(tensor, last["restormer"][key]) for key, tensor in first["restormer"].items())


# --- the tables ---


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("given", [[], ["clip=tiny_prior", "budget=laptop_restorex", "data=sice_v2"]])
def test_every_run_of_a_table_is_a_row_of_the_paper_with_a_folder_of_its_own(
    table: str, given: list[str]
) -> None:
    runs = [composed(*overrides) for overrides in jobs(table, "seed=3", *given)]
    callback = table_of(runs[0])
    values = [row.value for row in callback.paper]
    assert values == TABLES[table]
    assert [callback.value_of(cfg) for cfg in runs] == values
    assert [cfg.hydra.sweep.subdir for cfg in runs] == [f"{value}-seed3" for value in values]
    for cfg in runs:
        check_configuration(task(cfg))
        assert cfg.monitor is None
        assert cfg.hydra.sweep.dir == f"runs/{table}"


def test_a_table_on_a_laptop_is_as_large_as_the_small_experiment() -> None:
    small = task(composed("experiment=clip_restorex_small", "monitor=null", "name=x"))
    given = ["clip=tiny_prior", "budget=laptop_restorex", "data=sice_v2", "name=x"]
    full = composed(*jobs("restorex_table3", *given)[-1])
    assert OmegaConf.to_container(task(full), resolve=True) == OmegaConf.to_container(small, resolve=True)


def test_the_papers_figures() -> None:
    """Tables 2 and 3, PSNR / SSIM on LCDP."""
    callbacks = {table: table_of(composed(f"experiment=ablation/{table}")) for table in TABLES}
    printed = {
        table: [(row.psnr, row.ssim) for row in callback.paper] for table, callback in callbacks.items()
    }
    assert printed["restorex_table2"] == [(24.42, 0.8824), (24.63, 0.8815), (24.75, 0.8835)]
    assert printed["restorex_table3"] == [
        (23.67, 0.8671), (24.10, 0.8711), (24.14, 0.8808), (24.75, 0.8835), (24.86, 0.8858), (24.95, 0.8864)
    ]  # fmt: skip
    assert {callback.tested_on for callback in callbacks.values()} == {"LCDP"}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_for_real(table: str, pairs: list[str], tmp_path: Path) -> None:
    """Two steps a stage; the rows' figures are those of the runs."""
    command = [f"experiment=ablation/{table}", "clip=tiny_prior", *pairs, *NARROW]
    finished = start(command, tmp_path).wait()
    assert finished.status == 0, finished.said
    folder = tmp_path / "runs" / table
    assert (folder / "table.md").read_text() in finished.said
    found = json.loads((folder / "table.json").read_text())
    for name, row in zip(TABLES[table], found["rows"], strict=True):
        metrics = json.loads((folder / f"{name}-seed0" / "metrics.json").read_text())
        assert row["figures"]["psnr"]["mean"] == metrics["result"]["psnr"]
    assert found["tested_on"] == "LCDP"
