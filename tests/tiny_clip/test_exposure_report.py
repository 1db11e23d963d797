"""How the embedded CLIP is measured: on scenes it never saw."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from relit.clip_loading import EMBEDDED_FILE, load_clip
from relit.data.photographs import photographs
from relit.tiny_clip import results
from relit.tiny_clip.architecture import VISION


@pytest.fixture(autouse=True)
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "CROPS", 2)


def test_each_crop_is_taken_at_every_exposure() -> None:
    images, labels = results.unseen_exposures()
    assert len(images) == len(photographs("test")) * 2 * 3
    assert labels.tolist() == [0, 1, 2] * (len(images) // 3)
    brightness = images.mean((1, 2, 3)).view(-1, 3)
    assert (brightness.diff(dim=1) > 0.02).all()
    assert torch.equal(results.unseen_exposures()[0], images)


def test_balanced_accuracy_by_hand(tmp_path: Path) -> None:
    shutil.copy(Path(str(files("relit.assets"))) / EMBEDDED_FILE, tmp_path)
    context: Any = SimpleNamespace(run_dir=tmp_path, rank=0)
    found = results.evaluate(context)
    images, labels = results.unseen_exposures()
    for tower in VISION:
        clip = load_clip(tower, "embedded")
        similarity = clip.encode_image(images) @ clip.encode_text(list(results.EXPOSURES)).T
        right = [float(row.argmax() == label) for row, label in zip(similarity, labels, strict=True)]
        # as many pictures of each class, so the balanced accuracy is the plain one
        assert found[tower] == pytest.approx(sum(right) / len(right))
        assert found[tower] > 0.5  # guessing gives a third
    assert found["balanced_accuracy"] == min(found[tower] for tower in VISION)
