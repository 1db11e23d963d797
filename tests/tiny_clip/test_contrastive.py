"""Training the embedded CLIP: the loss by hand, the schedule, the step, and a few real steps of a run."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn import functional as F

from relit.clip_loading import load_clip
from relit.learning_rate import warmup_cosine
from relit.stages import run_stages
from relit.tiny_clip.architecture import IMAGE_MEAN, IMAGE_STD, VISION, build, split_weights, tokenizer
from relit.tiny_clip.attributes import true_of
from relit.tiny_clip.camera import Camera
from relit.tiny_clip.modules import (
    ContrastiveLight,
    LightPictures,
    LightPicturesData,
    contrastive_loss,
)
from relit.weights import read_weights

CONF = Path(__file__).resolve().parents[2] / "conf"


def unit(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


TRUE = torch.tensor(
    [[True, False, True, False], [False, True, False, False], [True, True, True, True]], dtype=torch.bool
)

# --- the loss ---


def test_contrastive_loss_by_hand() -> None:
    images, texts, scale = unit(3, 0), unit(4, 1), 7.0
    logits = scale * images.double().numpy() @ texts.double().numpy().T
    true = TRUE.numpy()

    def mean_of(log_probability: np.ndarray, true: np.ndarray) -> float:
        rows = [log_probability[i, true[i]].mean() for i in range(len(true))]
        return -float(np.mean(rows))

    over_texts = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    over_images = (logits - np.log(np.exp(logits).sum(0, keepdims=True))).T
    expected = (mean_of(over_texts, true) + mean_of(over_images, true.T)) / 2
    found = contrastive_loss(images, texts, TRUE, torch.tensor(scale))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_with_one_true_caption_each_it_is_clips() -> None:
    images, texts, scale = unit(5, 0), unit(5, 1), torch.tensor(14.0)
    logits, diagonal = scale * images @ texts.T, torch.arange(5)
    clips = (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
    torch.testing.assert_close(contrastive_loss(images, texts, torch.eye(5) > 0, scale), clips)


def test_the_order_of_pictures_and_captions_does_not_matter() -> None:
    images, texts, scale = unit(3, 0), unit(4, 1), torch.tensor(3.0)
    rows, columns = [2, 0, 1], [3, 1, 0, 2]
    shuffled = contrastive_loss(images[rows], texts[columns], TRUE[rows][:, columns], scale)
    torch.testing.assert_close(shuffled, contrastive_loss(images, texts, TRUE, scale))


def test_its_gradient_draws_true_pairs_together() -> None:
    images, texts = unit(3, 0).requires_grad_(True), unit(4, 1)
    scale = torch.tensor(5.0, requires_grad=True)
    before = contrastive_loss(images, texts, TRUE, scale)
    before.backward()
    assert images.grad is not None
    assert scale.grad is not None
    assert torch.isfinite(images.grad).all()
    after = contrastive_loss(F.normalize(images - 0.1 * images.grad, dim=1), texts, TRUE, scale)
    assert after < before


# --- schedule ---


def test_warmup_cosine_rises_then_falls_to_one_percent() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_cosine(optimizer, warmup=4, steps=24)
    rates = []
    for _ in range(30):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[4] == pytest.approx(2.0)
    assert rates[9] == pytest.approx(2 * (0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2), rel=1e-5)
    assert rates[14] == pytest.approx(2 * 0.505, rel=1e-5)
    assert rates[24:] == pytest.approx([0.02] * 6)


# --- batches ---


def test_batches_are_a_function_of_the_position() -> None:
    camera = Camera(torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0)), 16, seed=1)
    pictures = LightPictures(camera, seed=1)
    whole, parts = (
        pictures.__getitems__([4, 5, 6]),
        [pictures.__getitems__([4]), pictures.__getitems__([5, 6])],
    )
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([part[name] for part in parts])), name
    assert true_of(whole["classes"], whole["named"]).diagonal().all()


def test_the_loader_goes_on_where_training_stopped() -> None:
    data = LightPicturesData(batch_size=2, crops=1, procedural=1, scene_size=128, seed=0)
    data.setup("fit")
    first, second = (batch for batch, _ in zip(data.train_dataloader(), range(2), strict=False))
    data.trainer = SimpleNamespace(global_step=1, global_rank=0, world_size=1)  # type: ignore[assignment]
    resumed = next(iter(data.train_dataloader()))
    assert torch.equal(resumed["image"], second["image"])
    assert not torch.equal(resumed["image"], first["image"])


# --- the module ---


@pytest.fixture(scope="module")
def module() -> ContrastiveLight:
    return untrained(seed=3)


def untrained(seed: int) -> ContrastiveLight:
    context: Any = SimpleNamespace(seed=seed)
    return ContrastiveLight(context, torch.optim.SGD, warmup_cosine)


def test_text_cut_after_its_longest_row_is_that_of_all_positions(module: ContrastiveLight) -> None:
    tokens = tokenizer()(["backlit", "a photo of a scene well lit harsh", "dark noisy"])
    cut = tokens[:, : int((tokens != 0).sum(1).max())]
    assert cut.shape[1] == 10
    for model in module.models.values():
        torch.testing.assert_close(module._encode_text(cut), model.encode_text(tokens))


def test_the_seed_draws_the_weights_and_leaves_the_global_generator(module: ContrastiveLight) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    same, other = untrained(3), untrained(4)
    assert torch.equal(torch.rand(3), expected)
    weights = [m.models["tiny-ViT"].visual.conv1.weight for m in (module, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_step_is_the_sum_of_both_towers_losses() -> None:
    module = untrained(0)
    camera = Camera(torch.rand(2, 3, 130, 130, generator=torch.Generator().manual_seed(0)), 128, seed=1)
    batch = LightPictures(camera, seed=1).__getitems__([0, 1, 2])
    module.log = lambda *_args, **_options: None  # type: ignore[method-assign,assignment]
    found = module.training_step(batch, 0)
    mean, std = (torch.tensor(value)[:, None, None] for value in (IMAGE_MEAN, IMAGE_STD))
    true, expected = true_of(batch["classes"], batch["named"]), torch.zeros(())
    for model in module.models.values():
        image = model.encode_image((batch["image"] - mean) / std, normalize=True)
        text = model.encode_text(batch["tokens"], normalize=True)
        expected = expected + contrastive_loss(image, text, true, model.logit_scale.exp())
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


# --- a run ---


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a short real run of ``experiment=tiny_clip``, saved but not evaluated."""
    run_dir = tmp_path_factory.mktemp("runs") / "short"
    overrides = [
        "experiment=tiny_clip",
        "trainer=cpu",
        "name=short",
        f"run_dir={run_dir}",
        "progress=false",
        "trainer.log_every_n_steps=1",
        "data.crops=8",
        "data.procedural=4",
        "data.scene_size=128",
        "data.batch_size=12",
        "stage.contrastive.steps=8",
        "stage.contrastive.module.scheduler.warmup=1",
        "stage.contrastive.module.scheduler.steps=100",
        "finish=[{_target_: relit.tiny_clip.results.save_embedded}]",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_stages(compose("train", overrides))
    return run_dir


def test_a_few_steps_lower_the_loss(run: Path) -> None:
    rows = list(csv.DictReader((run / "logs" / "version_0" / "metrics.csv").open()))
    losses = [float(row["tiny_clip/loss"]) for row in rows if row["tiny_clip/loss"]]
    assert len(losses) == 8
    assert np.mean(losses[-3:]) < np.mean(losses[:2]) - 0.1


def test_the_saved_file_is_what_was_trained(run: Path) -> None:
    weights, _ = read_weights(run / "stages" / "1-contrastive" / "weights.safetensors")
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(value)[:, None, None] for value in (IMAGE_MEAN, IMAGE_STD))
    for tower in VISION:
        model = build(tower).eval()
        own = split_weights(weights["tiny_clip"], tower)
        model.load_state_dict({name: tensor.float() for name, tensor in own.items()})
        clip = load_clip(tower, str(run / "tiny_clip.safetensors"))
        expected = model.encode_image((images - mean) / std, normalize=True)
        torch.testing.assert_close(clip.encode_image(images), expected)
