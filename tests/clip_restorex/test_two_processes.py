"""Two processes train CLIP-RestoreX as one with the doubled batch does, flips and noise included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_restorex import SMALL
from two_processes import all_weights, train_doubled, train_in_two_processes

IN_TWO = [
    *SMALL,
    "threads=1",
    # Sums in another order differ in the last bit. Adam's eps keeps it from making whole steps of that where
    # the gradient is next to nothing. The other stages take the optimizer from here.
    "+stage.reference_priors.module.optimizer.eps=1e-4",
    "stage.restored_priors.module.noise_weight=0.5",
]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(tmp_path: Path) -> None:
    train_in_two_processes(tmp_path, *IN_TWO)
    train_doubled(tmp_path, IN_TWO)
    expected, found = (all_weights(tmp_path / "runs" / name) for name in ("one", "two"))
    assert found.keys() == expected.keys()
    assert {name.partition(":")[0] for name in found} >= {"stages/3-restored_priors/weights.safetensors"}
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    figures = [json.loads((tmp_path / "runs" / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert figures[1]["images"] == figures[0]["images"]
    assert figures[1]["result"]["psnr"] == pytest.approx(figures[0]["result"]["psnr"], abs=0.01)
    # the two shared the test photographs, and each counts once
    each = [(tmp_path / "runs" / name / "scores.csv").read_text().splitlines() for name in ("one", "two")]
    names = [[row.partition(",")[0] for row in rows] for rows in each]
    assert names[1] == names[0]
    assert len(names[1]) == 1 + figures[1]["images"]
