"""A step of the enhancement stage, CLIP-LIT Eq. (3)-(5), at the batch size of the release and 128 pixels.

Straightforward: each CLIP is asked image by image, for features of inputs as for features of results, and
nothing is said about gradients or the memory layout.

Relit: the stage itself, which asks in batches, takes the inputs' features without gradients, and keeps the
network's weights in channels-last layout.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.stand_ins import random_clip, random_pixels
from benchmarks.tables import Table, speedups
from benchmarks.timing import adam_step, interleaved
from relit.clip import FrozenClip
from relit.clip_lit.enhancer_stages import Enhancement
from relit.clip_lit.losses import IdentityLoss, clip_enhance_loss, enhancement_loss
from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, enhance
from relit.clip_lit.prompts import FixedPrompts
from relit.data.augmentation import Augmentation
from relit.stage_context import StageContext

BATCH_SIZE, SIZE = 8, 128
LEARNING_RATE = 2e-5
TOLERANCE = 1e-4
"""How far, relatively, the two losses may be apart."""


def straightforward_loss(
    stage: Enhancement, network: IlluminationNetwork, batch: dict[str, Tensor]
) -> Tensor:
    """The loss of ``stage`` on ``batch`` under the weights of ``network``, asking CLIP image by image."""
    images = stage.augmented(batch)
    results = enhance(images, network(images))
    clip, identity = torch.zeros(()), torch.zeros(())
    for image, result in zip(images.split(1), results.split(1), strict=True):
        features = stage.clip.encode_image(result)
        clip = clip + clip_enhance_loss(features, stage.text, stage.logit_scale) / len(images)
        of_input, of_result = (stage.identity_clip.stage_features(one) for one in (image, result))
        identity = identity + stage.identity(of_input, of_result) / len(images)
    return enhancement_loss(clip, identity, stage.identity_weight, stage.clip_weight)


def stage_loss(stage: Enhancement, batch: dict[str, Tensor]) -> Tensor:
    """The loss of the stage's own training step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*self\.log.*")  # nobody listens: there is no Trainer
        return stage.training_step(batch, 0)


def enhancement_stage(prompts: FrozenClip, identity: FrozenClip, compile: bool = False) -> Enhancement:
    """The stage as the release weighs its losses, about to train."""
    context = StageContext(
        name="enhancement",
        index=1,
        count=1,
        round=0,
        seed=0,
        weights={},
        run_dir=Path(),
        clip={"prompts": prompts, "identity": identity},
        network=lambda: ResidualPPM(initial_map=1.0).to(memory_format=torch.channels_last),
        compile=compile,
    )
    stage = Enhancement(
        context,
        optimizer=partial(torch.optim.Adam, lr=LEARNING_RATE),
        augmentation=Augmentation(),
        identity=IdentityLoss([1.0, 1.0, 1.0, 1.0, 0.5], "mse_sum8"),
        prompts=FixedPrompts(["a backlit photo", "a well lit photo"]),
        identity_weight=0.9 * 25,
        clip_weight=320.0,
        logit_scale=100.0,
        keep_previous=False,
    )
    stage.on_fit_start()
    return stage


def straightforward_network(stage: Enhancement) -> IlluminationNetwork:
    """A copy of the stage's network in the default memory layout."""
    network = ResidualPPM(initial_map=1.0)
    network.load_state_dict(stage.network.state_dict())
    return network


def random_batch(count: int, size: int) -> dict[str, Tensor]:
    """What the data loader hands the stage: ``count`` photographs of ``size`` pixels and their positions."""
    return {"image": random_pixels(count, size), "position": torch.arange(count)}


def run(repetitions: int = 5) -> list[Table]:
    """Seconds of one step.

    Raises:
        AssertionError: the two losses differ.
    """
    stage = enhancement_stage(random_clip("ViT-B-32-quickgelu"), random_clip("RN101-quickgelu"))
    network, batch = straightforward_network(stage), random_batch(BATCH_SIZE, SIZE)
    with torch.no_grad():
        expected, found = straightforward_loss(stage, network, batch), stage_loss(stage, batch)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=0)
    seconds = interleaved(
        {
            "straightforward": adam_step(
                network, lambda: straightforward_loss(stage, network, batch), LEARNING_RATE
            ),
            "stage": adam_step(stage.network, lambda: stage_loss(stage, batch), LEARNING_RATE),
        },
        repetitions,
    )
    row = (f"one step, batch {BATCH_SIZE}", seconds["straightforward"], seconds["stage"], "1.5 or more")
    return [speedups(f"Enhancement at {SIZE} pixels, ViT-B/32 and RN101", [row])]
