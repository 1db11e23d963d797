"""A benchmark compares two ways to the same loss, or to the same batches."""

from __future__ import annotations

import json
import operator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import correction_step, gpu
from benchmarks.__main__ import keep, main
from benchmarks.enhancement_step import (
    enhancement_stage,
    random_batch,
    stage_loss,
    straightforward_loss,
    straightforward_network,
)
from benchmarks.photo_enhancement import random_photo, straightforward
from benchmarks.photo_loading import data_module, write_photos
from benchmarks.process_memory import available, peak_of
from benchmarks.prompt_stage import Straightforward, bank_loss, prompt_pair
from benchmarks.stand_ins import random_photos, random_pixels
from benchmarks.tables import Table, costs, speedups
from relit.clip import FrozenClip
from relit.clip_lit.enhancement import Enhancement
from relit.clip_lit.network import ResidualPPM
from relit.clip_loading import load_clip
from relit.clip_restorex.correction import Correction
from relit.clip_restorex.restormer_stages import (
    PlainRestoration,
    ReferencePriors,
    RestoredPriors,
    RestormerStage,
)
from relit.data.augmentation import Augmentation
from relit.feature_bank import FeatureBank

NARROW: dict[str, Any] = {"dim": 4, "blocks": (1, 1, 1, 1), "refinement": 1, "heads": (1, 2, 2, 2)}


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def test_both_prompt_steps_have_one_loss_and_one_gradient(clip: FrozenClip) -> None:
    pair = prompt_pair(clip)
    straightforward = Straightforward(clip, pair)
    bank = FeatureBank(clip, Augmentation(), 1, 0, torch.device("cpu"))
    bank.add("photos", random_photos(2, 32))
    expected = straightforward(random_pixels(2, 32).float() / 255)
    found = bank_loss(pair, bank, torch.arange(2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    (expected + found).backward()
    (all_positions,), (those_that_matter,) = gradients(straightforward), gradients(pair)
    count = those_that_matter.shape[1]
    assert all_positions.shape[1] == clip.context_length > count
    torch.testing.assert_close(those_that_matter, all_positions[:, :count], rtol=1e-3, atol=1e-6)
    assert (all_positions[:, count:] == 0).all()


def test_both_enhancement_steps_have_one_loss_and_one_gradient(clip: FrozenClip) -> None:
    stage = enhancement_stage(clip, load_clip("tiny-ResNet", "embedded"))
    network, batch = straightforward_network(stage), random_batch(2, 32)
    expected, found = straightforward_loss(stage, network, batch), stage_loss(stage, batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    (expected + found).backward()
    for ours, theirs in zip(gradients(stage.network), gradients(network), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("kind", ["squares", "crops"])
def test_loading_decoded_photographs_gives_the_same_batches(tmp_path: Path, kind: str) -> None:
    write_photos(tmp_path, 12, 30, 48)
    assert len({path.read_bytes() for path in tmp_path.rglob("*.jpg")}) == 24
    decoding = data_module(kind, tmp_path, None, side=24).train_dataloader()
    cached = data_module(kind, tmp_path, tmp_path / "cache", side=24).train_dataloader()
    for expected, found in zip(islice(decoding, 4), islice(cached, 4), strict=True):
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
        pixels = found["image" if kind == "squares" else "reference"]
        assert pixels.shape == (8, 3, 24, 24)
        assert len(pixels.unique()) > 10
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(entries) == (12 if kind == "squares" else 24)


# --- CLIP-RestoreX beside a plain Restormer ---


def correction_stages(clip: FrozenClip) -> list[RestormerStage]:
    """The plain stage and those by priors, which begin at the same Restormer."""
    stages = [
        correction_step.stage(kind, clip, **NARROW)
        for kind in (PlainRestoration, ReferencePriors, RestoredPriors)
    ]
    for modulated in stages[1:]:
        missing, unexpected = modulated.restormer.load_state_dict(
            stages[0].restormer.state_dict(), strict=False
        )
        assert all(".modulation." in name for name in missing)
        assert not unexpected
    return stages


def test_stages_by_priors_begin_at_the_plain_ones_result(clip: FrozenClip) -> None:
    batch = correction_step.random_pairs(1, 16)
    plain, first, second = correction_stages(clip)
    expected = correction_step.stage_loss(plain, batch)
    torch.testing.assert_close(correction_step.stage_loss(first, batch), expected)
    loss = correction_step.stage_loss(second, batch)
    assert loss > expected  # of the priors, too
    loss.backward()
    trained = {name.split(".")[1] for name, p in second.named_parameters() if p.grad is not None}
    assert {"priors", "diffusion"} < trained
    assert all(p.grad is None for p in second.restorer.reference_priors.parameters())


def test_perception_adds_to_the_loss_that_is_timed(clip: FrozenClip) -> None:
    batch = correction_step.random_pairs(1, 16)
    trained = correction_step.stage(RestoredPriors, clip, sap=True, **NARROW)
    with_sap = correction_step.stage_loss(trained, batch)
    trained.perception = None
    assert with_sap > correction_step.stage_loss(trained, batch)


def test_checkpointing_is_timed_on_the_same_loss_and_gradient(clip: FrozenClip) -> None:
    batch, found = correction_step.random_pairs(1, 16), []
    trained = correction_step.stage(RestoredPriors, clip, **NARROW)
    for checkpointing in (False, True):
        trained.restormer.checkpointing = checkpointing
        trained.zero_grad()
        loss = correction_step.stage_loss(trained, batch)
        loss.backward()
        found.append([loss.detach(), *(gradient.clone() for gradient in gradients(trained))])
    for kept, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, kept)


def test_both_corrections_that_are_timed_have_one_result(clip: FrozenClip) -> None:
    plain, by_priors = (correction_step.network(one, **NARROW) for one in (None, clip))
    by_priors.restormer.load_state_dict(plain.restormer.state_dict(), strict=False)
    photo = random_pixels(1, 24) / 255
    expected = Correction(plain, None)(photo)
    torch.testing.assert_close(Correction(by_priors, clip)(photo), expected)
    assert not torch.equal(expected, photo)


def test_half_precision_is_timed_on_the_same_network(clip: FrozenClip) -> None:
    stage, batch = enhancement_stage(clip, load_clip("tiny-ResNet", "embedded")), random_batch(2, 32)
    before = [parameter.detach().clone() for parameter in stage.network.parameters()]
    types = []
    stage.network.output.register_forward_hook(lambda *_: types.append(_[-1].dtype))
    cpu = torch.device("cpu")
    for precision in ("32", "bf16"):
        gpu.timed_step(stage.network, lambda: stage_loss(stage, batch), cpu, precision)()
    assert types == [torch.float32, torch.bfloat16]
    assert any(not torch.equal(*pair) for pair in zip(before, stage.network.parameters(), strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is refused without")
def test_a_gpu_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--gpu"])
    assert exited.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err


# --- tables ---


def test_ratios_say_how_many_times_as_fast_or_as_long() -> None:
    fast = speedups("Steps", [("a step", 3.0, 1.5, "2 or more")])
    assert str(fast).splitlines()[2].split() == ["a", "step", "3.00", "1.50", "2.00", "2", "or", "more"]
    more = costs("Steps", [("with priors", 2.0, 3.0, "")])
    assert more.rows["with priors"][2] == 1.5


def test_columns_are_as_wide_as_their_figures() -> None:
    lines = str(
        Table("Memory", ("MiB", "of it"), {"a": (1234.5, None), "long name": (0.5, "x")})
    ).splitlines()
    assert lines == [
        "Memory",
        "             MiB  of it",
        "a          1,234      -",
        "long name  0.500      x",
    ]


def test_each_measurement_is_appended_to_the_history(tmp_path: Path) -> None:
    history = tmp_path / "runs" / "bench.jsonl"
    for seconds in (3.0, 4.0):
        keep(history, {"steps": [speedups("Steps", [("a step", seconds, 2.0, "")])]})
    first, second = (json.loads(line) for line in history.read_text().splitlines())
    assert first["tables"]["steps"][0]["rows"]["a step"]["ratio"] == 1.5
    assert second["tables"]["steps"][0]["rows"]["a step"]["ratio"] == 2
    assert first["machine"]["torch"] == torch.__version__
    assert first["measured"] <= second["measured"]


def test_the_gpu_has_steps_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--gpu", "start_up"])
    assert exited.value.code == 2
    assert "leave the names out" in capsys.readouterr().err


def test_a_benchmark_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["start_up", "prompts"])
    assert "no benchmark is named prompts; there are start_up, prompt_stage" in capsys.readouterr().err


@pytest.mark.skipif(available() is None, reason="only Linux tells")
def test_memory_is_that_of_a_process_of_its_own() -> None:
    kept = bytes(300 << 20)  # this process's own does not count
    little, much = (peak_of(operator.mul, b"x", mib << 20) for mib in (1, 200))
    assert little < 200 < much
    assert much - little == pytest.approx(199, abs=20)
    assert len(kept) == 300 << 20


def test_both_ways_to_a_large_photograph_have_one_result() -> None:
    network, photo = ResidualPPM(initial_map=1.0).eval(), random_photo(40, 700)
    found = Enhancement(network)(photo)
    torch.testing.assert_close(found, straightforward(network, photo), rtol=0, atol=1e-5)
    assert not torch.equal(found, photo)
