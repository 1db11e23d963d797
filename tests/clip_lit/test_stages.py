"""CLIP-LIT's stages on the YAML files that people run, small: what they train, log and hand over.

One run of the whole plan is recomputed: the loss that each stage logs at its first step must be its equation,
written out here, on the weights that the stages before handed over.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from relit.clip import ClipIdentity, FrozenClip
from relit.clip_lit.network import ResidualPPM, initialise
from relit.clip_lit.prompt_stages import margins_of_round
from relit.clip_lit.prompts import PromptPair
from relit.data.augmentation import Augmentation
from relit.data.unpaired import UnpairedPhotos
from relit.errors import ConfigurationError
from relit.feature_bank import FeatureBank
from relit.instantiation import bind, build
from relit.keyed import keyed_generator, keyed_seed
from relit.stage_context import StageContext
from relit.stages import run_stages
from relit.weights import Weights, read_weights

CONF = Path(__file__).resolve().parents[2] / "conf"
STEPS = {
    "prompt_initialisation": 3,
    "self_reconstruction": 2,
    "enhancement": 2,
    "prompt_refinement": 3,
    "tuning": 2,
}
PLAN = [
    "prompt_initialisation",
    "self_reconstruction",
    "enhancement",
    "prompt_refinement",
    "tuning",
    "prompt_refinement",
    "tuning",
]
# Barely trained prompts saturate S at CLIP's scale of 100; at 5 every term of every loss counts.
SCALE = 5
PHRASES = ["an underexposed photo", "a well exposed photo"]
FIXED = f"{{_target_: relit.clip_lit.prompts.FixedPrompts, phrases: [{', '.join(PHRASES)}]}}"
SMALL = [
    "experiment=quickstart",
    "data.size=48",
    "data.test_size=48",
    "data.crops=4",
    "data.procedural=4",
    "trainer=cpu",
    "trainer.log_every_n_steps=1",
    "progress=false",
    "stage.prompt_initialisation.module.views=3",
    *(f"stage.{name}.data.batch_size=4" for name in STEPS),
    *(f"stage.{name}.steps={steps}" for name, steps in STEPS.items()),
    *(f"stage.{name}.module.logit_scale={SCALE}" for name in STEPS if name != "self_reconstruction"),
    *(f"stage.{name}.module.optimizer.lr=1e-3" for name in ("self_reconstruction", "enhancement")),
    "stage.tuning.module.optimizer.lr=2e-3",
    "clip.identity_distance=mse_sum8",
]


def composed(run_dir: Path, *overrides: str) -> DictConfig:
    """The quickstart with tiny sizes, as train.py composes it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        # only a Hydra job knows these two
        place = ["name=small", f"runs={run_dir.parent}", f"run_dir={run_dir}"]
        return compose("train", [*SMALL, *place, *overrides])


@dataclass
class Run:
    """A finished run: its configuration, and what a stage found and left."""

    cfg: dict[str, Any]
    run_dir: Path

    def weights(self, index: int) -> Weights:
        """What had been handed over after stage ``index``; nothing after stage 0."""
        if index == 0:
            return {}
        folder = self.run_dir / "stages" / f"{index}-{PLAN[index - 1]}"
        return read_weights(folder / "weights.safetensors")[0]

    def logged(self, index: int, name: str) -> list[float]:
        """The values of a metric at each step of stage ``index``."""
        first = sum(STEPS[stage] for stage in PLAN[: index - 1])
        steps = range(first, first + STEPS[PLAN[index - 1]])
        with (self.run_dir / "logs" / "version_0" / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row[name]]
        return [float(row[name]) for row in rows if int(row["step"]) in steps]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run_dir = tmp_path_factory.mktemp("modules") / "small"
    cfg = composed(run_dir)
    run_stages(cfg)
    return Run(OmegaConf.to_container(cfg, resolve=True), run_dir)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clip(run: Run) -> FrozenClip:
    return build(run.cfg["clip"]["prompts"])


@pytest.fixture(scope="module")
def photos(run: Run) -> UnpairedPhotos:
    """The run's photographs, from a data module of our own."""
    module: UnpairedPhotos = build({**run.cfg["data"], "batch_size": 4, "images": True})
    module.setup()
    return module


@pytest.fixture(scope="module")
def batch(photos: UnpairedPhotos) -> dict[str, Tensor]:
    """What every stage sees at its first step."""
    return next(iter(photos.train_dataloader()))


def stage_seed(run: Run, index: int) -> int:
    return keyed_seed(run.cfg["seed"], index, PLAN[index - 1])


def prompts_before(run: Run, index: int, clip: FrozenClip) -> Tensor:
    """Text features (2, D) of the prompts that stage ``index`` began with."""
    if index == 1:
        pair = PromptPair(clip, generator=keyed_generator(stage_seed(run, index), "prompts"))
        return pair(clip).detach()
    embeddings = run.weights(index - 1)["prompts"]["embeddings"]
    last = embeddings.shape[1] - 1
    return clip.encode_embeddings(embeddings, torch.tensor([last, last]))


def score(features: Tensor, text: Tensor) -> Tensor:
    """S(I) of Eq. (6): the softmax over both cosines, scaled, taken at the negative prompt."""
    cosines = features @ text.T
    exponentials = (SCALE * cosines.double()).exp()
    return exponentials[:, 0] / exponentials.sum(dim=1)


def network_of(weights: Mapping[str, Tensor]) -> ResidualPPM:
    network = ResidualPPM()
    network.load_state_dict(dict(weights))
    return network.eval()


@torch.no_grad()
def enhanced(network: ResidualPPM, images: Tensor) -> Tensor:
    return (images / (network(images) + 1e-9)).clamp(0, 1)


def bank_of(run: Run, index: int, clip: FrozenClip, photos: UnpairedPhotos) -> FeatureBank:
    """The bank of a prompt stage, with the results of the networks it ranks."""
    zoom = run.cfg["stage"]["prompt_initialisation"]["module"]["augmentation"]["zoom"]
    bank = FeatureBank(clip, Augmentation(zoom=zoom), 3, stage_seed(run, index), torch.device("cpu"))
    bank.add("backlit", photos.backlit)
    bank.add("well_lit", photos.well_lit)
    return bank


def add_result(bank: FeatureBank, name: str, weights: Mapping[str, Tensor], photos: UnpairedPhotos) -> None:
    network = network_of(weights)
    bank.add(name, photos.backlit, lambda images: enhanced(network, images))


def test_the_yaml_files_say_what_the_paper_says(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        place = ["name=paper", f"run_dir={tmp_path}", "data.backlit=a", "data.well_lit=b"]
        cfg = compose("train", ["experiment=clip_lit", *place])
    stage = cfg.stage
    assert {name: node.steps for name, node in stage.items()} == {
        "prompt_initialisation": 10_000, "self_reconstruction": 1000, "enhancement": 2100,
        "prompt_refinement": 1000, "tuning": 2100,
    }  # fmt: skip
    total = 10_000 + 1000 + 2100 + cfg.rounds * (1000 + 2100)
    assert total == pytest.approx(50_000, rel=0.01)
    for name in ("prompt_initialisation", "prompt_refinement"):
        assert (stage[name].module.optimizer.lr, stage[name].data.batch_size) == (5e-6, 8)
    for name in ("self_reconstruction", "enhancement", "tuning"):
        assert (stage[name].module.optimizer.lr, stage[name].data.batch_size) == (2e-5, 16)
    assert all(node.module.optimizer.betas == [0.9, 0.99] for node in stage.values())
    assert all(node.module.get("logit_scale", 100) == 100 for node in stage.values())
    assert stage.prompt_refinement.module.margins == [{"round": 1, "m0": 0.9, "m1": 0.2}]
    assert (cfg.clip.identity_weight, cfg.clip.identity_distance, cfg.data.size) == (0.9, "l2_rms", 512)


# --- prompt initialisation ---


def test_prompt_initialisation_logs_eq_1_with_labels_by_position(
    run: Run, clip: FrozenClip, photos: UnpairedPhotos, batch: dict[str, Tensor]
) -> None:
    bank, text = bank_of(run, 1, clip, photos), prompts_before(run, 1, clip)
    expected, exchanged_labels, exchanged_photos = 0.0, 0.0, 0.0
    for i, position in enumerate(batch["position"].tolist()):
        names = ["backlit", "well_lit"] if position % 2 == 0 else ["well_lit", "backlit"]
        one = slice(i, i + 1)
        s_right, s_wrong = (score(bank(n, batch[n][one], batch["position"][one]), text) for n in names)
        label = position % 2
        expected -= float((1 - s_right if label else s_right).log()) / 4
        exchanged_labels -= float((s_right if label else 1 - s_right).log()) / 4
        exchanged_photos -= float((s_wrong if label else 1 - s_wrong).log()) / 4
    logged = run.logged(1, "prompt_initialisation/loss")[0]
    assert logged == pytest.approx(expected, rel=1e-5)
    assert logged != pytest.approx(exchanged_labels, rel=5e-5)
    assert logged != pytest.approx(exchanged_photos, rel=5e-5)


def test_prompt_initialisation_logs_how_many_photographs_are_on_their_side_of_one_half(
    run: Run, clip: FrozenClip, photos: UnpairedPhotos, batch: dict[str, Tensor]
) -> None:
    # of three photographs the right ones are never as many as the wrong ones
    _, logged, _ = fitted(run, 1, "stage.prompt_initialisation.data.batch_size=3", steps=1)
    bank, text = bank_of(run, 1, clip, photos), prompts_before(run, 1, clip)
    right = 0
    for i in range(3):
        name = "well_lit" if batch["position"][i] % 2 else "backlit"
        s = float(score(bank(name, batch[name][i : i + 1], batch["position"][i : i + 1]), text))
        assert abs(s - 0.5) > 1e-5
        right += s < 0.5 if name == "well_lit" else s > 0.5
    assert logged["prompt_initialisation/accuracy"] == pytest.approx(right / 3)


def test_prompt_initialisation_moves_the_context_and_nothing_else(run: Run, clip: FrozenClip) -> None:
    after = run.weights(1)
    assert after.keys() == {"prompts"}
    pair = PromptPair(clip, generator=keyed_generator(stage_seed(run, 1), "prompts"))
    moved = (after["prompts"]["embeddings"] - pair.weights()["embeddings"]).abs().amax(dim=2)
    assert (moved[:, 1:-1] > 0).all()  # 16 context tokens of both prompts
    assert (moved[:, [0, -1]] == 0).all()  # SOS and EOT


# --- self-reconstruction and enhancement ---


def augmented(run: Run, index: int, batch: dict[str, Tensor]) -> Tensor:
    zoom = run.cfg["stage"][PLAN[index - 1]]["module"]["augmentation"]["zoom"]
    augmentation = Augmentation(zoom=zoom)
    theta = augmentation.matrices(batch["position"], stage_seed(run, index))
    return augmentation.apply(batch["image"].float() / 255, theta)


@torch.no_grad()
def identity(
    clip: FrozenClip, images: Tensor, results: Tensor, layer_weights: Sequence[float], distance: str
) -> float:
    """Eq. (4): the root of each image's and layer's mean square, or eight of those; weighted, batch mean."""
    total = 0.0
    before, after = (clip.stage_features(x) for x in (images, results))
    for i in range(len(images)):
        for alpha, b, t in zip(layer_weights, before, after, strict=True):
            square = float((b[i].double() - t[i].double()).square().mean())
            total += alpha * (8 * square if distance == "mse_sum8" else square**0.5)
    return total / len(images)


def network_before(run: Run, index: int) -> ResidualPPM:
    weights = run.weights(index - 1)
    if "enhancer" in weights:
        return network_of(weights["enhancer"])
    network = ResidualPPM(initial_map=1.0)
    initialise(network, keyed_generator(stage_seed(run, index), "network"))
    return network.eval()


def test_self_reconstruction_logs_eq_4_with_unit_layer_weights(
    run: Run, clip: FrozenClip, batch: dict[str, Tensor]
) -> None:
    images = augmented(run, 2, batch)
    # laid out as in training: near the identity the rounding of one layout or another is seen in the loss
    network = network_before(run, 2).to(memory_format=torch.channels_last)
    results = enhanced(network, images)
    expected = identity(clip, images, results, [1, 1, 1, 1, 1], "mse_sum8")
    assert run.logged(2, "self_reconstruction/loss")[0] == pytest.approx(expected, rel=1e-4)


def test_self_reconstruction_logs_the_psnr_of_results_to_inputs(run: Run, batch: dict[str, Tensor]) -> None:
    """Mean over the photographs of -10 log10 of the mean squared error; by it a dead start is known."""
    images = augmented(run, 2, batch)
    errors = (enhanced(network_before(run, 2), images) - images).double().square().flatten(1).mean(1)
    expected = sum(-10 * math.log10(error) for error in errors.tolist()) / len(errors)
    assert run.logged(2, "self_reconstruction/psnr")[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("index", [3, 5, 7])
def test_enhancement_and_tuning_log_eq_5_of_the_prompts_and_network_before(
    run: Run, clip: FrozenClip, batch: dict[str, Tensor], index: int
) -> None:
    images = augmented(run, index, batch)
    results = enhanced(network_before(run, index), images)
    similarity = float(score(clip.encode_image(results), prompts_before(run, index, clip)).mean())
    distance = identity(clip, images, results, [1, 1, 1, 1, 0.5], "mse_sum8")
    assert run.logged(index, "enhancement/clip")[0] == pytest.approx(similarity, rel=1e-4)
    assert run.logged(index, "enhancement/identity")[0] == pytest.approx(distance, rel=1e-4)
    expected = similarity + run.cfg["clip"]["identity_weight"] * distance
    assert run.logged(index, "enhancement/loss")[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("index", [2, 3, 5, 7])
def test_enhancer_stages_move_the_whole_network_and_no_prompt(run: Run, index: int) -> None:
    before, after = network_before(run, index).state_dict(), run.weights(index)["enhancer"]
    assert [name for name, tensor in before.items() if torch.equal(tensor, after[name])] == []
    prompts = run.weights(index - 1)["prompts"]["embeddings"]
    assert torch.equal(run.weights(index)["prompts"]["embeddings"], prompts)


# --- refinement ---


@pytest.mark.parametrize("index", [4, 6])
def test_refinement_moves_the_prompts_and_no_network(run: Run, index: int) -> None:
    before, after = run.weights(index - 1), run.weights(index)
    assert not torch.equal(before["prompts"]["embeddings"], after["prompts"]["embeddings"])
    assert before.keys() == after.keys()
    for name in before.keys() - {"prompts"}:
        for key, tensor in before[name].items():
            assert torch.equal(after[name][key], tensor)


def hinge(lower: Tensor, upper: Tensor, margin: float) -> float:
    return float((lower - upper + margin).clamp(min=0).mean())


def scores(
    run: Run, index: int, clip: FrozenClip, bank: FeatureBank, batch: dict[str, Tensor], names: Sequence[str]
) -> list[Tensor]:
    text, indices = prompts_before(run, index, clip), {"well_lit": batch["well_lit"]}
    return [score(bank(name, indices.get(name, batch["backlit"]), batch["position"]), text) for name in names]


def eq_7(s_b: Tensor, s_w: Tensor, s_t: Tensor) -> float:
    return hinge(s_w, s_b, 0.9) + hinge(s_t, s_b, 0.9) + hinge(s_w, s_t, 0.2)


def eq_8(s_b: Tensor, s_w: Tensor, s_t: Tensor, s_p: Tensor, m0: float = 0.9, m1: float = 0.2) -> float:
    return hinge(s_w, s_b, m0) + hinge(s_p, s_b, m0) + hinge(s_w, s_t, m1) + hinge(s_t, s_p, m1)


@pytest.fixture(scope="module")
def scores_of_round_1(
    run: Run, clip: FrozenClip, photos: UnpairedPhotos, batch: dict[str, Tensor]
) -> list[Tensor]:
    """S of I_b, I_w and I_t at the first step of stage 4."""
    bank = bank_of(run, 4, clip, photos)
    add_result(bank, "result", run.weights(3)["enhancer"], photos)
    return scores(run, 4, clip, bank, batch, ["backlit", "well_lit", "result"])


@pytest.fixture(scope="module")
def scores_of_round_2(
    run: Run, clip: FrozenClip, photos: UnpairedPhotos, batch: dict[str, Tensor]
) -> list[Tensor]:
    """S of I_b, I_w, I_t and I_{t-1}, the network before the last tuning, at stage 6's first step."""
    bank = bank_of(run, 6, clip, photos)
    add_result(bank, "result", run.weights(5)["enhancer"], photos)
    add_result(bank, "previous", run.weights(3)["enhancer"], photos)
    return scores(run, 6, clip, bank, batch, ["backlit", "well_lit", "result", "previous"])


def test_the_first_round_logs_eq_7(run: Run, scores_of_round_1: list[Tensor]) -> None:
    loss = run.logged(4, "prompt_refinement/loss")[0]
    assert loss == pytest.approx(eq_7(*scores_of_round_1), rel=1e-4)
    s_b, s_w, s_t = scores_of_round_1
    for wrong in ([s_w, s_b, s_t], [s_b, s_t, s_w], [s_t, s_w, s_b]):
        assert loss != pytest.approx(eq_7(*wrong), rel=1e-3)
    assert run.logged(4, "prompt_refinement/S_result")[0] == pytest.approx(float(s_t.mean()), rel=1e-4)


def test_the_second_round_logs_eq_8_with_the_network_before_the_last_tuning(
    run: Run, scores_of_round_2: list[Tensor]
) -> None:
    loss = run.logged(6, "prompt_refinement/loss")[0]
    assert loss == pytest.approx(eq_8(*scores_of_round_2), rel=1e-4)
    s_b, s_w, s_t, s_p = scores_of_round_2
    for wrong in ([s_w, s_b, s_t, s_p], [s_b, s_w, s_p, s_t], [s_b, s_t, s_w, s_p]):
        assert loss != pytest.approx(eq_8(*wrong), rel=1e-3)
    assert run.logged(6, "prompt_refinement/S_previous")[0] == pytest.approx(float(s_p.mean()), rel=1e-4)


def test_the_previous_enhancer_is_the_one_that_tuning_began_with(run: Run) -> None:
    assert all("previous_enhancer" not in run.weights(index) for index in (1, 2, 3, 4))
    for index, source in ((5, 3), (6, 3), (7, 5)):
        expected = run.weights(source)["enhancer"]
        previous = run.weights(index)["previous_enhancer"]
        assert previous.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(previous[key], tensor), key


# --- single stages, as the options of the YAML files change them ---


def fitted(
    run: Run, index: int, *overrides: str, steps: int = 2
) -> tuple[LightningModule, dict[str, float], str]:
    """Stage ``index`` on what the run handed it, with ``overrides``; its last metrics, and CLIP's digest."""
    cfg = OmegaConf.to_container(composed(run.run_dir, *overrides), resolve=True)
    assert isinstance(cfg, dict)
    clip = build(cfg["clip"]["prompts"])
    context = StageContext(
        name=PLAN[index - 1],
        index=index,
        count=len(PLAN),
        round=max(0, (index - 2) // 2),
        seed=stage_seed(run, index),
        weights=run.weights(index - 1),
        run_dir=run.run_dir,
        clip={"prompts": clip, "identity": clip},
        network=lambda: build(cfg["network"]).to(memory_format=torch.channels_last),
    )
    stage = cfg["stage"][PLAN[index - 1]]
    module = bind(stage["module"])(context)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, datamodule=build({**cfg["data"], **stage["data"]}))
    return module, {name: float(value) for name, value in trainer.callback_metrics.items()}, digest(clip)


def digest(clip: FrozenClip) -> str:
    return ClipIdentity.of(clip._model, "", "").digest


@pytest.mark.parametrize(("index", "trained"), [(1, "prompts"), (3, "network"), (6, "prompts")])
def test_a_stage_is_a_function_of_its_context_and_leaves_clip_alone(
    run: Run, index: int, trained: str
) -> None:
    module, _, digest_after = fitted(run, index, steps=STEPS[PLAN[index - 1]])
    # trained alone, it hands over what it handed over in the run
    for group, tensors in module.handover().items():  # type: ignore[operator]
        for name, tensor in tensors.items():
            assert torch.equal(tensor, run.weights(index)[group][name]), name
    assert digest_after == digest(build(run.cfg["clip"]["prompts"]))
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {trained}
    assert {name.split(".")[0] for name in module.state_dict()} == {trained}


def test_without_previous_the_second_round_is_eq_7_again(run: Run, scores_of_round_2: list[Tensor]) -> None:
    _, logged, _ = fitted(run, 6, "stage.prompt_refinement.module.use_previous=false", steps=1)
    assert logged["prompt_refinement/loss"] == pytest.approx(eq_7(*scores_of_round_2[:3]), rel=1e-4)
    assert "prompt_refinement/S_previous" not in logged


def test_margins_hold_from_their_round_on(run: Run, scores_of_round_2: list[Tensor]) -> None:
    key = "stage.prompt_refinement.module.margins"
    _, logged, _ = fitted(
        run, 6, f"{key}=[{{round: 1, m0: 0.8, m1: 0.3}}, {{round: 2, m0: 0.5, m1: 0.1}}]", steps=1
    )
    expected = eq_8(*scores_of_round_2, m0=0.5, m1=0.1)
    assert logged["prompt_refinement/loss"] == pytest.approx(expected, rel=1e-4)
    _, logged, _ = fitted(
        run, 6, f"{key}=[{{round: 1, m0: 0.8, m1: 0.3}}, {{round: 3, m0: 0.5, m1: 0.1}}]", steps=1
    )
    expected = eq_8(*scores_of_round_2, m0=0.8, m1=0.3)
    assert logged["prompt_refinement/loss"] == pytest.approx(expected, rel=1e-4)


def test_margins_that_leave_a_round_out_or_are_no_pairs_are_named() -> None:
    first, second = {"round": 1, "m0": 0.9, "m1": 0.2}, {"round": 2, "m0": 0.9, "m1": 0.1}
    assert margins_of_round([first, second], 7) == (0.9, 0.1)
    assert margins_of_round([first, second], 0) == (0.9, 0.2)
    for wrong in ([second], [], [{"round": 1, "m0": 0.9}], [{**first, "m0": "a"}], [[0.9, 0.2]]):
        with pytest.raises(ConfigurationError, match="margins: "):
            margins_of_round(wrong, 1)  # type: ignore[arg-type]


def test_the_ranking_loss_has_a_weight(run: Run, scores_of_round_1: list[Tensor]) -> None:
    _, logged, _ = fitted(run, 4, "stage.prompt_refinement.module.ranking_weight=200", steps=1)
    assert logged["prompt_refinement/loss"] == pytest.approx(200 * eq_7(*scores_of_round_1), rel=1e-4)


def test_fresh_views_encode_the_augmented_photographs_of_each_step(
    run: Run, clip: FrozenClip, photos: UnpairedPhotos, batch: dict[str, Tensor]
) -> None:
    _, logged, _ = fitted(run, 1, "stage.prompt_initialisation.module.views=null", steps=1)
    zoom = run.cfg["stage"]["prompt_initialisation"]["module"]["augmentation"]["zoom"]
    labels = batch["position"] % 2
    chosen = [
        photos.well_lit[w] if label else photos.backlit[b]
        for label, b, w in zip(labels, batch["backlit"].tolist(), batch["well_lit"].tolist(), strict=True)
    ]
    augmentation = Augmentation(zoom=zoom)
    images = torch.stack(chosen).float() / 255
    views = augmentation.apply(images, augmentation.matrices(batch["position"], stage_seed(run, 1)))
    s = score(clip.encode_image(views), prompts_before(run, 1, clip))
    expected = -torch.where(labels == 1, 1 - s, s).log().mean()
    assert logged["prompt_initialisation/loss"] == pytest.approx(float(expected), rel=1e-5)


def test_swap_rounds_exchanges_the_two_results(run: Run, scores_of_round_2: list[Tensor]) -> None:
    _, logged, _ = fitted(run, 6, "stage.prompt_refinement.module.swap_rounds=true", steps=1)
    s_b, s_w, s_t, s_p = scores_of_round_2
    assert logged["prompt_refinement/loss"] == pytest.approx(eq_8(s_b, s_w, s_p, s_t), rel=1e-4)


def test_enhancement_takes_fixed_phrases_in_place_of_learned_prompts(
    run: Run, clip: FrozenClip, batch: dict[str, Tensor]
) -> None:
    _, logged, _ = fitted(run, 3, f"stage.enhancement.module.prompts={FIXED}", steps=1)
    results = enhanced(network_before(run, 3), augmented(run, 3, batch))
    expected = score(clip.encode_image(results), clip.encode_text(PHRASES)).mean()
    assert logged["enhancement/clip"] == pytest.approx(float(expected), rel=1e-4)


def test_the_paper_s_distance_is_an_option(run: Run, clip: FrozenClip, batch: dict[str, Tensor]) -> None:
    _, logged, _ = fitted(run, 5, "clip.identity_distance=l2_rms", steps=1)
    images = augmented(run, 5, batch)
    results = enhanced(network_before(run, 5), images)
    expected = identity(clip, images, results, [1, 1, 1, 1, 0.5], "l2_rms")
    assert logged["enhancement/identity"] == pytest.approx(expected, rel=1e-4)


def test_weights_of_eq_5_are_options(run: Run) -> None:
    options = ["clip.identity_weight=3", "stage.enhancement.module.clip_weight=320"]
    _, logged, _ = fitted(run, 3, *options, steps=1)
    expected = 320 * logged["enhancement/clip"] + 3 * logged["enhancement/identity"]
    assert logged["enhancement/loss"] == pytest.approx(expected, rel=1e-4)


def test_fixed_phrases_alone_make_a_run(tmp_path: Path) -> None:
    """The paper's ablation: nothing but the plan and the prompts change."""
    cfg = composed(
        tmp_path / "fixed",
        "plan=[self_reconstruction, enhancement]",
        f"stage.enhancement.module.prompts={FIXED}",
        "logger=none",
    )
    metrics = run_stages(cfg)
    assert {"psnr", "input_psnr", "S", "input_S"} <= metrics.keys()
    assert read_weights(tmp_path / "fixed" / "weights.safetensors")[0].keys() == {"enhancer"}
