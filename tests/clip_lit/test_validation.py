"""What a stage logs while it validates, and the switches that change how it trains, not what it computes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from relit.clip_lit.network import ResidualPPM, enhance
from relit.clip_lit.prompts import PromptPair
from relit.data.photo import read_photo, write_png
from relit.data.unpaired import UnpairedPhotos
from relit.errors import ConfigurationError
from relit.instantiation import build
from relit.metrics import round_to_8_bits
from relit.stages import run_stages
from relit.weights import Weights, read_weights

CONF = Path(__file__).resolve().parents[2] / "conf"
STAGES = ("prompt_initialisation", "self_reconstruction", "enhancement", "prompt_refinement", "tuning")
SMALL = [
    "experiment=quickstart",
    "rounds=1",
    *("data.size=48", "data.test_size=48", "data.crops=4", "data.procedural=4"),
    *("trainer=cpu", "trainer.log_every_n_steps=1", "progress=false", "checkpoint_every=1"),
    "stage.prompt_initialisation.module.views=2",
    *(f"stage.{name}.data.batch_size=4" for name in STAGES),
    *(f"stage.{name}.steps=2" for name in STAGES),
    *(f"stage.{name}.module.optimizer.lr=1e-3" for name in ("self_reconstruction", "enhancement", "tuning")),
]


# Neither rounds nor figures of the result.
LAST = ["plan=[prompt_initialisation, self_reconstruction, enhancement]", "finish=[]"]


def composed(run_dir: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        place = ["name=small", f"runs={run_dir.parent}", f"run_dir={run_dir}"]
        return compose("train", [*SMALL, *place, *overrides])


def trained(run_dir: Path, *overrides: str) -> Path:
    run_stages(composed(run_dir, *overrides))
    return run_dir


def rows(run_dir: Path, name: str) -> dict[int, float]:
    """The logged values of a metric by step of the run."""
    found: dict[int, float] = {}
    for file in sorted(run_dir.glob("logs/*/metrics.csv")):
        with file.open() as lines:
            found |= {int(r["step"]): float(r[name]) for r in csv.DictReader(lines) if r.get(name)}
    return found


def weights(run_dir: Path, folder: str) -> Weights:
    return read_weights(run_dir / "stages" / folder / "weights.safetensors")[0]


def network_of(tensors: dict[str, torch.Tensor]) -> ResidualPPM:
    network = ResidualPPM()
    network.load_state_dict(tensors)
    return network.eval()


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("validated") / "run", "data.held_out=2", "validate_every=1")


@pytest.fixture(scope="module")
def photos() -> UnpairedPhotos:
    cfg: Any = OmegaConf.to_container(composed(Path("unused"), "data.held_out=2"), resolve=True)
    module: UnpairedPhotos = build(cfg["data"])
    module.setup()
    return module


@torch.no_grad()
def s_of(run_dir: Path, folder: str, images: list[torch.Tensor]) -> list[float]:
    """S(I), Eq. (6), by hand, under the prompts that the stage in ``folder`` left."""
    cfg = OmegaConf.load(run_dir / "config.yaml")
    clip = build(OmegaConf.to_container(cfg.clip.prompts))  # type: ignore[arg-type]
    pair = PromptPair(clip, generator=torch.Generator())
    pair.load(weights(run_dir, folder)["prompts"])
    text = pair(clip)
    cosines = torch.cat([clip.encode_image(image) for image in images]) @ text.T
    exponentials = (cfg.clip.logit_scale * cosines.double()).exp()
    return (exponentials[:, 0] / exponentials.sum(1)).tolist()


def test_enhancer_stages_log_the_mean_score_of_held_out_photographs(
    validated: Path, photos: UnpairedPhotos
) -> None:
    assert photos.validation is not None
    found = [photos.validation[i] for i in range(len(photos.validation))]
    inputs = [item["input"][None] / 255 for item in found if "input" in item]
    well_lit = [item["well_lit"][None] / 255 for item in found if "well_lit" in item]
    network = network_of(weights(validated, "3-enhancement")["enhancer"])
    with torch.no_grad():
        results = [round_to_8_bits(enhance(image, network(image))) for image in inputs]
    last = max(step for step in rows(validated, "val/S") if step <= 5)
    for name, images in (("val/S", results), ("val/S_input", inputs), ("val/S_well_lit", well_lit)):
        scores = s_of(validated, "3-enhancement", images)
        assert rows(validated, name)[last] == pytest.approx(sum(scores) / 2, rel=1e-4), name
    # without prompts, self-reconstruction has nothing to score by
    assert not [step for step in rows(validated, "val/S") if step in (2, 3)]


def test_prompt_stages_log_how_many_held_out_photographs_they_place_rightly(
    validated: Path, photos: UnpairedPhotos
) -> None:
    assert photos.validation is not None
    right = 0
    for i in range(len(photos.validation)):
        item = photos.validation[i]
        kind = "input" if "input" in item else "well_lit"
        (s,) = s_of(validated, "1-prompt_initialisation", [item[kind][None] / 255])
        right += s > 0.5 if kind == "input" else s < 0.5
    last = max(step for step in rows(validated, "val/accuracy") if step <= 1)
    assert rows(validated, "val/accuracy")[last] == pytest.approx(right / len(photos.validation))


def test_results_are_shown_to_the_logger(validated: Path) -> None:
    shown = {path.parent.parent.name for path in validated.glob("logs/version_0/pictures/*/val/*.png")}
    assert len(shown) == 6  # two validations of each of the three enhancer stages
    # pictures and figures of a validation stand at one step
    assert set(rows(validated, "val/S")) <= {int(step) for step in shown}


def test_rounds_are_judged_by_one_prompt_pair(validated: Path) -> None:
    table = json.loads((validated / "rounds.json").read_text())
    metrics = json.loads((validated / "metrics.json").read_text())
    names = ["input", "2-self_reconstruction", "3-enhancement", "5-tuning"]
    assert [row["stage"] for row in table] == names
    assert {name: table[0][name] for name in ("psnr", "ssim", "S")} == metrics["input"]
    assert {name: table[-1][name] for name in ("psnr", "ssim", "S")} == metrics["result"]
    assert len({row["S"] for row in table}) == len(names)


def test_validating_changes_nothing_that_is_learned(validated: Path, tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", "data.held_out=2", "finish=[]")
    assert not rows(plain, "val/S")
    for group, tensors in weights(plain, "5-tuning").items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, weights(validated, "5-tuning")[group][name]), name


class Killed(Exception):  # noqa: N818
    """Ends a run in the middle."""


@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_batch_start"])
def test_a_run_killed_around_a_validation_ends_with_the_same_weights_and_figures(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relit.clip_lit.enhancer_stages import Enhancement

    overrides = [
        *("data.held_out=2", "validate_every=1", *LAST),
        *("stage.enhancement.steps=4", "ema={decay: 0.5}"),
        "stage.enhancement.best={monitor: val/S, mode: max}",
    ]
    whole = trained(tmp_path / "whole", *overrides)

    def die(module: Any, *_: Any) -> None:
        if module.global_step == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Enhancement, hook, die, raising=False)
        with pytest.raises(Killed):
            trained(tmp_path / "killed", *overrides)
    resumed = trained(tmp_path / "killed", *overrides)
    for name, tensor in weights(whole, "3-enhancement")["enhancer"].items():
        assert torch.equal(tensor, weights(resumed, "3-enhancement")["enhancer"][name]), name
    assert rows(resumed, "val/S") == rows(whole, "val/S")


def test_nothing_to_validate_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.val_input=DIR.*data\.held_out=N"):
        trained(tmp_path / "run", "validate_every=1", "plan=[prompt_initialisation]")


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return rows(trained(tmp_path_factory.mktemp("losses") / "run", *LAST), "enhancement/loss")


@pytest.mark.parametrize(
    ("switch", "tolerance"),
    [
        pytest.param(["trainer.precision=bf16-mixed"], 3e-2, marks=pytest.mark.slow),
        (["+trainer.gradient_clip_val=1e6"], 0.0),
    ],
)
def test_switches_leave_the_losses_as_they_are(
    switch: list[str], tolerance: float, losses: dict[int, float], tmp_path: Path
) -> None:
    found = rows(trained(tmp_path / "run", *LAST, *switch), "enhancement/loss")
    assert found.keys() == losses.keys()
    for step, loss in losses.items():
        assert found[step] == pytest.approx(loss, rel=tolerance), step
    # reduced precision can't leave every bit as it was
    assert (found == losses) == (switch[0] != "trainer.precision=bf16-mixed" and tolerance == 0.0)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_layout_is_a_switch_and_leaves_the_loss_as_it_is(
    channels_last: bool, losses: dict[int, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relit.clip_lit.enhancer_stages import Enhancement

    layouts: list[bool] = []

    def look(module: Enhancement) -> None:
        weight = module.network.output.weight
        layouts.append(weight.is_contiguous(memory_format=torch.channels_last))

    monkeypatch.setattr(Enhancement, "on_train_end", look, raising=False)
    run = trained(tmp_path / "run", *LAST, f"channels_last={str(channels_last).lower()}")
    assert layouts == [channels_last]
    assert rows(run, "enhancement/loss") == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["stage.prompt_refinement.module.margins=[{round: 2, m0: 0.9, m1: 0.2}]"],
            "margins: round 1 has none",
        ),
        (["ablation=fixed_prompts", "clip.phrases=[dark, unheard]"], "does not know 'unheard'"),
        (["ablation=fixed_prompts", f"clip.phrases=[dark, {'dark ' * 80}]"], "at most"),
        (
            ["stage.tuning.module.identity.layer_weights=[1, 1]"],
            r"stage\.tuning\.module\.identity\.layer_weights",
        ),
        (["clip.identity.model=tiny-ViT"], r"clip\.identity\.model=tiny-ViT"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_is_trained(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        trained(tmp_path / "run", *overrides)
    assert not list((tmp_path / "run").glob("stages/*"))


def test_a_finished_stage_is_let_go(tmp_path: Path) -> None:
    """Its features would otherwise stay in memory as long as the data module that the run keeps."""
    import gc
    import weakref

    from relit.clip_lit.prompt_stages import PromptInitialisation

    seen: list[weakref.ref[PromptInitialisation]] = []
    original = PromptInitialisation.handover

    def note(module: PromptInitialisation) -> Weights:
        seen.append(weakref.ref(module))
        return original(module)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PromptInitialisation, "handover", note)
        trained(tmp_path / "run", "plan=[prompt_initialisation, self_reconstruction]", "finish=[]")
    gc.collect()
    assert [reference() for reference in seen] == [None]


def test_with_references_enhancer_stages_log_psnr_and_ssim(tmp_path: Path) -> None:
    """Of the 8-bit results against their references, by the network that the stage left."""
    from relit.metrics import image_psnr, image_ssim

    generator = torch.Generator().manual_seed(0)
    for folder, darker in (("dark", 3), ("bright", 1)):
        for number in range(2):
            shape = (3, 24, 24)
            photo = torch.randint(256, shape, generator=generator.manual_seed(number), dtype=torch.uint8)
            write_png(tmp_path / folder / f"{number}.png", photo // darker)
    dark, bright = tmp_path / "dark", tmp_path / "bright"
    overrides = [o for o in SMALL if not o.startswith(("data.crops", "data.procedural"))]
    folders = [f"data.backlit={dark}", f"data.well_lit={bright}", f"data.val_input={dark}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        place = ["name=own", f"runs={tmp_path}", f"run_dir={tmp_path / 'own'}", "validate_every=2", *LAST]
        paired = ["data=folders", "data.size=24", *folders, f"data.val_reference={bright}"]
        cfg = compose("train", [*overrides, "data.test_size=null", *paired, *place])
    run_stages(cfg)
    network = network_of(weights(tmp_path / "own", "3-enhancement")["enhancer"])
    psnr, ssim = [], []
    for number in range(2):
        image, reference = (read_photo(f / f"{number}.png")[None].float() / 255 for f in (dark, bright))
        with torch.no_grad():
            result = round_to_8_bits(enhance(image, network(image)))
        psnr.append(float(image_psnr(result, reference)))
        ssim.append(float(image_ssim(result, reference)))
    last = max(rows(tmp_path / "own", "val/psnr"))
    assert rows(tmp_path / "own", "val/psnr")[last] == pytest.approx(sum(psnr) / 2, rel=1e-5)
    assert rows(tmp_path / "own", "val/ssim")[last] == pytest.approx(sum(ssim) / 2, rel=1e-5)


def test_without_test_photographs_the_held_out_ones_are_judged(validated: Path, tmp_path: Path) -> None:
    from PIL import Image

    for folder in ("dark", "bright"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            value = 40 + number if folder == "dark" else 200
            Image.new("RGB", (24, 24), (value, value, value)).save(tmp_path / folder / f"{number}.png")
    overrides = [o for o in SMALL if not o.startswith(("data.crops", "data.procedural", "data.size"))]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        place = ["name=own", f"runs={tmp_path}", f"run_dir={tmp_path / 'own'}"]
        folders = [f"data.backlit={tmp_path / 'dark'}", f"data.well_lit={tmp_path / 'bright'}"]
        cfg = compose(
            "train", [*overrides, "data=folders", "data.held_out=1", "data.size=24", *folders, *place]
        )
    run_stages(cfg)
    metrics = json.loads((tmp_path / "own" / "metrics.json").read_text())
    assert (metrics["data"], metrics["images"]) == ("validation", 1)


@pytest.mark.slow
def test_compiled_networks_leave_the_losses_as_they_are(losses: dict[int, float], tmp_path: Path) -> None:
    run = trained(tmp_path / "run", *LAST, "compile=true", "data.held_out=2", "validate_every=2")
    plain = rows(trained(tmp_path / "plain", *LAST, "data.held_out=2"), "enhancement/loss")
    assert rows(run, "enhancement/loss") == pytest.approx(plain, rel=1e-3)


def test_gradient_clipping_is_handed_to_the_trainer(losses: dict[int, float], tmp_path: Path) -> None:
    """Adam hardly sees the scale of gradients, so plain gradient descent shows whether they are clipped."""
    node = "stage.enhancement.module.optimizer"
    descent = [f"{node}._target_=torch.optim.SGD", f"{node}.lr=1.0", f"~{node}.betas"]
    before = network_state(trained(tmp_path / "run", *LAST, *descent, "+trainer.gradient_clip_val=1e-3"), 2)
    after = network_state(tmp_path / "run", 3)
    moved = torch.cat([(after[name] - before[name]).flatten() for name in after]).norm()
    assert 0 < moved <= 2.001e-3


def network_state(run_dir: Path, index: int) -> dict[str, torch.Tensor]:
    (folder,) = (run_dir / "stages").glob(f"{index}-*")
    return weights(run_dir, folder.name)["enhancer"]


def test_a_moving_average_of_the_enhancer_is_handed_over(tmp_path: Path) -> None:
    averaged = trained(tmp_path / "averaged", *LAST, "ema={decay: 0.25}")
    steps = [
        network_state(trained(tmp_path / f"{n}", *LAST, f"stage.enhancement.steps={n}"), 3) for n in (1, 2)
    ]
    for name, tensor in network_state(averaged, 3).items():
        expected = 0.25 * steps[0][name] + 0.75 * steps[1][name]
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_a_dead_start_is_drawn_anew(tmp_path: Path) -> None:
    """A network that gives white everywhere has less than 8 dB, and no gradient to leave by."""
    dead = ["network.initial_map=-1", "plan=[self_reconstruction]", "stage.self_reconstruction.steps=40"]
    rule = "stage.self_reconstruction.restart={below: 8, after: 29, at_most: 0}"
    with pytest.raises(ConfigurationError, match=r"network\.initial_map=1"):
        trained(tmp_path / "dead", *dead, rule)


def test_the_start_file_gives_the_first_stage_its_weights(validated: Path, tmp_path: Path) -> None:
    begun = trained(
        tmp_path / "run",
        f"start={validated / 'weights.safetensors'}",
        *("plan=[enhancement]", "finish=[]"),
        "stage.enhancement.module.optimizer.lr=1e-12",
    )
    for group in ("enhancer", "prompts"):
        for name, tensor in read_weights(validated / "weights.safetensors")[0][group].items():
            torch.testing.assert_close(weights(begun, "1-enhancement")[group][name], tensor)
    with pytest.raises(ConfigurationError, match="no prompts to train towards"):
        trained(tmp_path / "none", "plan=[tuning]")
    with pytest.raises(ConfigurationError, match=r"relit import enhancement\.pth"):
        trained(tmp_path / "raw", "start=enhancement.pth")
    with pytest.raises(ConfigurationError, match="tiny-ResNet"):
        trained(
            tmp_path / "other",
            f"start={validated / 'weights.safetensors'}",
            "plan=[enhancement]",
            "clip.prompts.model=tiny-ViT",
        )
