"""The adversarial ablation: its formulas by hand, its gradients, and its stages on the YAML files, small.

A run of both stages is recomputed step by step as EnlightenGAN trains: the generator, then the discriminators
on the results made before, each under its own Adam.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from relit.checks import check_configuration
from relit.clip import FrozenClip
from relit.clip_lit.adversarial import Adversarial, adversarial_losses
from relit.clip_lit.adversarial_losses import (
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from relit.clip_lit.discriminator import (
    GlobalLocalDiscriminator,
    PatchDiscriminator,
    crop_patches,
    initialise,
)
from relit.clip_lit.losses import identity_loss
from relit.clip_lit.network import ResidualPPM, enhance
from relit.data.augmentation import Augmentation
from relit.data.unpaired import UnpairedPhotos
from relit.errors import ConfigurationError
from relit.instantiation import build
from relit.keyed import keyed_generator, keyed_seed
from relit.stages import run_stages
from relit.weights import Weights, read_weights

CONF = Path(__file__).resolve().parents[2] / "conf"
PLAN = ["self_reconstruction", "adversarial", "adversarial_tuning"]
STEPS = 2
# of the networks and of the discriminators, by stage; large, so that a step is told from rounding
RATES = {"adversarial": (1e-3, 2e-3), "adversarial_tuning": (5e-4, 2e-3)}
SMALL = [
    "data.size=40",
    "data.test_size=40",
    "data.crops=4",
    "data.procedural=4",
    "rounds=1",
    "trainer=cpu",
    "trainer.log_every_n_steps=1",
    "progress=false",
    "channels_last=false",
    "checkpoint_every=1",
    *(f"stage.{name}.data.batch_size=2" for name in ("self_reconstruction", "enhancement", "tuning")),
    *(f"stage.{name}.steps={STEPS}" for name in ("self_reconstruction", "enhancement", "tuning")),
    "stage.enhancement.module.optimizer.lr=1e-3",
    "stage.tuning.module.optimizer.lr=5e-4",
    "stage.adversarial.module.discriminator.channels=2",
    "stage.adversarial.module.discriminator.patches=3",
    "stage.adversarial.module.discriminator_lr=2e-3",
    "stage.adversarial.module.adversarial_weight=0.5",
]


def composed(run_dir: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        # only a Hydra job knows these two
        place = ["name=adversarial", f"runs={run_dir.parent}", f"run_dir={run_dir}"]
        return compose("train", [*overrides, *place])


def small(run_dir: Path, *overrides: str) -> DictConfig:
    return composed(run_dir, "experiment=quickstart", "ablation=adversarial", *SMALL, *overrides)


# --- the formulas ---


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


REAL, FAKE = [0.7, -0.2, 1.5], [0.1, 0.4]
SCORES = torch.tensor(REAL).reshape(3, 1, 1, 1), torch.tensor(FAKE).reshape(1, 1, 2, 1)


def test_relativistic_losses_by_hand() -> None:
    judged = [(r - mean(FAKE) - 1) ** 2 for r in REAL], [(f - mean(REAL)) ** 2 for f in FAKE]
    passed = [(f - mean(REAL) - 1) ** 2 for f in FAKE], [(r - mean(FAKE)) ** 2 for r in REAL]
    for loss, terms in ((relativistic_discriminator_loss, judged), (relativistic_generator_loss, passed)):
        assert float(loss(*SCORES)) == pytest.approx((mean(terms[0]) + mean(terms[1])) / 2, rel=1e-6)


def test_relativistic_losses_see_differences_alone() -> None:
    for loss in (relativistic_discriminator_loss, relativistic_generator_loss):
        shifted = loss(SCORES[0] + 3, SCORES[1] + 3)
        torch.testing.assert_close(shifted, loss(*SCORES))


def test_relativistic_losses_are_least_where_one_side_is_half_above_the_other() -> None:
    low, high = torch.zeros(4), torch.full((4,), 0.5)
    assert relativistic_discriminator_loss(real=high, fake=low) == 0.25
    assert relativistic_generator_loss(real=low, fake=high) == 0.25
    for loss in (relativistic_discriminator_loss, relativistic_generator_loss):
        assert loss(low, low) == 0.5
        for other in (0.25, 1.0, -0.25, -1.0):
            assert loss(low, low + other) > 0.25


def test_least_squares_losses_by_hand() -> None:
    judged = (mean([(r - 1) ** 2 for r in REAL]) + mean([f**2 for f in FAKE])) / 2
    assert float(least_squares_discriminator_loss(*SCORES)) == pytest.approx(judged, rel=1e-6)
    passed = mean([(f - 1) ** 2 for f in FAKE])
    assert float(least_squares_generator_loss(SCORES[1])) == pytest.approx(passed, rel=1e-6)


def test_losses_of_half_precision_scores_are_taken_in_float32() -> None:
    real, fake = (scores.bfloat16() for scores in SCORES)
    for loss in (relativistic_discriminator_loss, relativistic_generator_loss):
        assert torch.equal(loss(real, fake), loss(real.float(), fake.float()))


# --- the discriminators ---


def convolutions(network: nn.Module) -> list[tuple[int, int, int]]:
    """Channels in, channels out and stride of each; all are 4x4 with padding 2."""
    found = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert all((c.kernel_size, c.padding) == ((4, 4), (2, 2)) for c in found)
    return [(c.in_channels, c.out_channels, c.stride[0]) for c in found]


def test_the_discriminators_are_enlightengan_s() -> None:
    pair = GlobalLocalDiscriminator()
    assert convolutions(pair.whole) == [
        (3, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 2), (512, 512, 2), (512, 512, 1), (512, 1, 1),
    ]  # fmt: skip
    assert convolutions(pair.local) == [
        (3, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 2), (512, 512, 1), (512, 1, 1),
    ]  # fmt: skip
    assert (pair.patch, pair.patches) == (32, 6)


@pytest.mark.parametrize(("layers", "size", "side"), [(4, 32, 5), (5, 64, 5), (5, 320, 13), (5, 1, 3)])
def test_a_map_of_scores_for_any_size(layers: int, size: int, side: int) -> None:
    # a stride of 2 makes n to n // 2 + 1, a stride of 1 makes it n + 1
    scores = PatchDiscriminator(layers, channels=1)(torch.rand(2, 3, size, size))
    assert scores.shape == (2, 1, side, side)


def test_the_discriminator_sees_black_as_minus_one_and_white_as_one() -> None:
    network = PatchDiscriminator(2, channels=2)
    layers, images = nn.Sequential(*network), torch.ones(1, 3, 16, 16)
    for pixel, seen in ((0.0, -1.0), (0.5, 0.0), (1.0, 1.0)):
        assert torch.equal(network(pixel * images), layers(seen * images))
    assert not torch.allclose(network(images), network(0 * images))


def small_pair(seed: int = 0) -> GlobalLocalDiscriminator:
    pair = GlobalLocalDiscriminator(global_layers=2, local_layers=1, channels=2, patch=4, patches=3)
    initialise(pair, keyed_generator(seed))
    for parameter in pair.parameters():
        parameter.data.mul_(10)  # N(0, 0.02) at two channels scores next to nothing
    return pair


def test_initial_weights_are_a_function_of_the_generator() -> None:
    first, again, other = (GlobalLocalDiscriminator(channels=8) for _ in range(3))
    for pair, key in ((first, 0), (again, 0), (other, 1)):
        initialise(pair, keyed_generator(key))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        assert not torch.equal(tensor, other.state_dict()[name])
    widest = first.whole[8]
    assert isinstance(widest, nn.Conv2d)
    assert widest.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert widest.bias is not None
    assert 0 < widest.bias.abs().max() <= widest.weight[0].numel() ** -0.5


def test_patches_lie_where_the_corners_say() -> None:
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(9.0), indexing="ij")
    images = torch.stack([torch.stack([rows, columns]), torch.stack([rows + 100, columns])])
    corners = torch.tensor([[[0, 0], [2, 5]], [[4, 1], [3, 6]]])
    patches = crop_patches(images, corners, 3)
    assert patches.shape == (4, 2, 3, 3)
    assert patches[:, :, 0, 0].tolist() == [[0, 0], [2, 5], [104, 1], [103, 6]]
    assert patches[:, :, 2, 1].tolist() == [[2, 1], [4, 6], [106, 2], [105, 7]]


def test_each_pixel_s_gradient_counts_the_patches_it_is_in() -> None:
    images = torch.zeros(1, 1, 5, 5, requires_grad=True)
    crop_patches(images, torch.tensor([[[0, 0], [1, 1], [1, 1]]]), 3).sum().backward()
    expected = torch.zeros(5, 5)
    for y, x in ((0, 0), (1, 1), (1, 1)):
        expected[y : y + 3, x : x + 3] += 1
    assert images.grad is not None
    assert torch.equal(images.grad[0, 0], expected)


def test_corners_are_a_function_of_key_and_position_and_reach_every_place() -> None:
    pair = GlobalLocalDiscriminator(channels=1, patch=4, patches=50)
    corners = pair.draw_corners(torch.tensor([3, 8]), 7, 5, "result")
    assert corners.shape == (2, 50, 2)
    for column in (0, 1):
        assert set(corners[..., column].flatten().tolist()) == {0, 1, 2, 3}
    assert torch.equal(pair.draw_corners([8, 3], 7, 5, "result"), corners.flip(0))
    assert not torch.equal(corners[0], corners[1])
    for key in ((5, "reference"), (6, "result")):
        assert not torch.equal(pair.draw_corners([3, 8], 7, *key), corners)


@pytest.mark.parametrize("name", ["global_layers", "local_layers", "channels", "patch", "patches"])
def test_numbers_below_one_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"discriminator\.{name}: .* 0"):
        GlobalLocalDiscriminator(**{name: 0})


# --- both losses together ---


@dataclass
class Judged:
    """A pair of discriminators and what it judges."""

    pair: GlobalLocalDiscriminator
    results: Tensor
    references: Tensor
    at_results: Tensor
    at_references: Tensor

    def losses(self) -> tuple[Tensor, Tensor]:
        return adversarial_losses(
            self.pair, self.results, self.references, self.at_results, self.at_references
        )

    def gradients(self, loss: Tensor) -> list[Tensor | None]:
        """Of ``loss``, for the results and for each weight of the discriminators."""
        wanted = [self.results, *self.pair.parameters()]
        return list(torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True))


@pytest.fixture
def judged() -> Judged:
    pair, generator = small_pair(), keyed_generator("photographs")
    results, references = (torch.rand(2, 3, 12, 12, generator=generator) for _ in range(2))
    at = [pair.draw_corners([0, 1], 12, kind) for kind in ("result", "reference")]
    return Judged(pair, results.requires_grad_(), references, *at)


def test_adversarial_losses_are_the_global_and_the_local_formula(judged: Judged) -> None:
    pair = judged.pair
    whole = [pair.whole(images) for images in (judged.references, judged.results)]
    patches = [
        pair.local(crop_patches(images, corners, 4))
        for images, corners in (
            (judged.references, judged.at_references), (judged.results, judged.at_results)
        )
    ]  # fmt: skip
    generator, discriminator = judged.losses()
    passed = relativistic_generator_loss(*whole) + least_squares_generator_loss(patches[1])
    torch.testing.assert_close(generator, passed)
    found = relativistic_discriminator_loss(*whole) + least_squares_discriminator_loss(*patches)
    torch.testing.assert_close(discriminator, found)


def test_fixed_weights_change_no_score(judged: Judged) -> None:
    plain = judged.pair(judged.results, judged.at_results)
    fixed = judged.pair.score_with_fixed_weights(judged.results, judged.at_results)
    for expected, found in zip(plain, fixed, strict=True):
        assert torch.equal(found, expected)


def test_neither_loss_reaches_the_other_side(judged: Judged) -> None:
    generator, discriminator = judged.losses()
    of_generator, of_discriminator = judged.gradients(generator), judged.gradients(discriminator)
    assert of_generator[0] is not None
    assert of_generator[0].abs().max() > 0
    assert of_generator[1:] == [None] * len(of_generator[1:])
    assert of_discriminator[0] is None
    for (name, _), gradient in zip(judged.pair.named_parameters(), of_discriminator[1:], strict=True):
        assert gradient is not None
        if name != "whole.6.bias":  # the last: a constant in all scores, which the relativistic loss ignores
            assert gradient.abs().max() > 0, name


def test_one_backward_pass_gives_the_gradients_of_two(judged: Judged) -> None:
    """EnlightenGAN's generator pass, its weights' gradients thrown away, then its discriminator pass."""
    pair = judged.pair
    plain = judged.results.detach().clone().requires_grad_()
    real, fake = pair(judged.references, judged.at_references), pair(plain, judged.at_results)
    loss = relativistic_generator_loss(real.whole, fake.whole) + least_squares_generator_loss(fake.patches)
    loss.backward()
    pair.zero_grad()
    real, fake = pair(judged.references, judged.at_references), pair(plain.detach(), judged.at_results)
    loss = relativistic_discriminator_loss(real.whole, fake.whole)
    (loss + least_squares_discriminator_loss(real.patches, fake.patches)).backward()
    expected = [plain.grad, *(parameter.grad for parameter in pair.parameters())]

    generator, discriminator = judged.losses()
    for gradient, two in zip(judged.gradients(generator + discriminator), expected, strict=True):
        assert gradient is not None
        assert two is not None
        assert torch.equal(gradient, two)


# --- the stages, on the YAML files ---


@dataclass
class Run:
    """A finished run: its configuration, what its stages left, and the figures at its end."""

    cfg: dict[str, Any]
    run_dir: Path
    metrics: dict[str, float]

    def weights(self, index: int) -> Weights:
        folder = self.run_dir / "stages" / f"{index}-{PLAN[index - 1]}"
        return read_weights(folder / "weights.safetensors")[0]

    def logged(self, index: int, name: str) -> list[float]:
        """The values of a metric at each step of stage ``index``."""
        with (self.run_dir / "logs" / "version_0" / "metrics.csv").open() as file:
            rows = {int(row["step"]): row[name] for row in csv.DictReader(file) if row[name]}
        return [float(rows[STEPS * (index - 1) + step]) for step in range(STEPS)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run_dir = tmp_path_factory.mktemp("adversarial") / "small"
    cfg = small(run_dir)
    metrics = run_stages(cfg)
    return Run(OmegaConf.to_container(cfg, resolve=True), run_dir, metrics)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def photos(run: Run) -> UnpairedPhotos:
    """The run's photographs, from a data module of our own."""
    module: UnpairedPhotos = build({**run.cfg["data"], "batch_size": 2, "images": True})
    module.setup()
    return module


@dataclass
class Sides:
    """Both networks as a stage began with them, each with an Adam of its own."""

    network: ResidualPPM
    pair: GlobalLocalDiscriminator
    steps: tuple[torch.optim.Adam, torch.optim.Adam]


def sides_before(run: Run, index: int) -> Sides:
    name, before = PLAN[index - 1], run.weights(index - 1)
    network = ResidualPPM()
    network.load_state_dict(before["enhancer"])
    pair = GlobalLocalDiscriminator(channels=2, patches=3)
    initialise(pair, keyed_generator(keyed_seed(0, index, name), "discriminator"))
    if "discriminator" in before:
        pair.load_state_dict(before["discriminator"])
    rate, pair_rate = RATES[name]
    of_network = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99))
    return Sides(
        network, pair, (of_network, torch.optim.Adam(pair.parameters(), lr=pair_rate, betas=(0.5, 0.999)))
    )


def alternate(
    sides: Sides,
    clip: FrozenClip,
    images: Tensor,
    references: Tensor,
    corners: Callable[[str], Tensor],
    identity_weight: float,
) -> dict[str, float]:
    """One step as EnlightenGAN takes it; the losses it saw."""
    pair, (of_network, of_pair) = sides.pair, sides.steps
    results = enhance(images, sides.network(images))
    real, fake = pair(references, corners("reference")), pair(results, corners("result"))
    generator = relativistic_generator_loss(real.whole, fake.whole)
    generator = generator + least_squares_generator_loss(fake.patches)
    features = [clip.stage_features(each) for each in (images, results)]
    identity = identity_loss(*features, layer_weights=[1, 1, 1, 1, 0.5], distance="mse_sum8")
    loss = 0.5 * generator + identity_weight * identity
    of_network.zero_grad()
    loss.backward()
    of_network.step()
    of_pair.zero_grad()
    real, fake = pair(references, corners("reference")), pair(results.detach(), corners("result"))
    discriminator = relativistic_discriminator_loss(real.whole, fake.whole)
    discriminator = discriminator + least_squares_discriminator_loss(real.patches, fake.patches)
    discriminator.backward()
    of_pair.step()
    terms = {"generator": generator, "discriminator": discriminator, "identity": identity, "loss": loss}
    return {name: value.item() for name, value in terms.items()}


@pytest.mark.parametrize("index", [2, 3])
def test_a_stage_is_enlightengan_s_alternation_with_two_adams(
    run: Run, photos: UnpairedPhotos, index: int
) -> None:
    seed, clip = keyed_seed(0, index, PLAN[index - 1]), build(run.cfg["clip"]["identity"])
    sides, augmentation = sides_before(run, index), Augmentation(zoom=(0.7, 1.3))
    batches = iter(photos.train_dataloader())
    for step in range(STEPS):
        batch = next(batches)
        positions = batch["position"]
        images, references = (
            augmentation.apply(pixels.float() / 255, augmentation.matrices(positions, *key))
            for pixels, key in (
                (batch["image"], (seed,)),
                (torch.stack([photos.well_lit[int(i)] for i in batch["well_lit"]]), (seed, "reference")),
            )
        )
        losses = alternate(
            sides,
            clip,
            images,
            references,
            lambda kind: sides.pair.draw_corners(positions, 40, seed, kind),  # noqa: B023
            run.cfg["clip"]["identity_weight"],
        )
        for name, value in losses.items():
            assert run.logged(index, f"adversarial/{name}")[step] == pytest.approx(value, rel=1e-5), name
    after = run.weights(index)
    for group, network in (("enhancer", sides.network), ("discriminator", sides.pair)):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(after[group][name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("index", [2, 3])
def test_the_stages_move_both_networks_and_hand_them_over(run: Run, index: int) -> None:
    before, after = sides_before(run, index), run.weights(index)
    assert after.keys() == {"enhancer", "discriminator"}
    for group, network in (("enhancer", before.network), ("discriminator", before.pair)):
        state = network.state_dict()
        assert after[group].keys() == state.keys()
        still = {name for name, tensor in state.items() if torch.equal(tensor, after[group][name])}
        assert still <= {"whole.12.bias"}  # the last: the relativistic loss ignores it, but for rounding


def test_a_run_without_prompts_ends_with_figures_but_s(run: Run) -> None:
    assert {"psnr", "ssim", "input_psnr"} <= run.metrics.keys()
    assert not {"S", "input_S"} & run.metrics.keys()


@pytest.mark.parametrize("stage", ["adversarial", "adversarial_tuning"])
def test_killed_within_a_stage_the_run_goes_on_to_the_same_bits(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    cfg = small(tmp_path / "killed", "finish=[]")
    step = Adversarial.training_step

    def fails_at_the_second_step(self: Adversarial, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.seed == keyed_seed(0, PLAN.index(stage) + 1, stage) and self.global_step == 1:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Adversarial, "training_step", fails_at_the_second_step)
        with pytest.raises(RuntimeError, match="power cut"):
            run_stages(cfg)
    assert list((tmp_path / "killed").glob(f"stages/*-{stage}/checkpoints/*.ckpt"))
    run_stages(cfg)
    resumed = Run(run.cfg, tmp_path / "killed", {}).weights(3)
    for group, tensors in run.weights(3).items():
        for name, tensor in tensors.items():
            assert torch.equal(resumed[group][name], tensor), f"{group}/{name}"


def test_photographs_smaller_than_a_patch_are_refused(tmp_path: Path) -> None:
    cfg = small(tmp_path / "tiny", "plan=[adversarial]", "data.size=24")
    with pytest.raises(ConfigurationError, match=r"data\.size=24: .* 32 pixels. Set data\.size=32"):
        run_stages(cfg)


@pytest.mark.parametrize(
    "overrides",
    [
        ("experiment=quickstart",),
        ("experiment=clip_lit", "clip=tiny", "budget=laptop", "data=sample"),
        ("experiment=clip_lit", "data.backlit=a", "data.well_lit=b"),
    ],
)
def test_the_ablation_trains_the_enhancer_as_long_as_the_full_method(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    cfg = composed(tmp_path / "ablation", *overrides, "ablation=adversarial")
    check_configuration(cfg)
    stage = OmegaConf.to_container(cfg, resolve=True)["stage"]  # type: ignore[index, call-overload]
    for name, full in (("adversarial", "enhancement"), ("adversarial_tuning", "tuning")):
        for key in ("steps", "data", "ema", "validate_every"):
            assert stage[name].get(key) == stage[full].get(key)
        for key in ("optimizer", "augmentation", "identity", "identity_weight"):
            assert stage[name]["module"][key] == stage[full]["module"][key]
    assert cfg.plan == [
        "self_reconstruction", "adversarial", {"repeat": cfg.rounds, "stages": ["adversarial_tuning"]},
    ]  # fmt: skip
    module = stage["adversarial"]["module"]
    assert (module["discriminator_lr"], module["discriminator_betas"]) == (1e-4, [0.5, 0.999])
    assert module["discriminator"] == stage["adversarial_tuning"]["module"]["discriminator"]
