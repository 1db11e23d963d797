"""Shared fixtures: where the real photographs are, and one thread of torch, which small tensors need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photographs and released checkpoints, which the project does not ship: RELIT_TEST_DATA, or
    ``shared`` beside the checkout.
    """
    folder = Path(os.environ.get("RELIT_TEST_DATA") or ROOT.parent / "shared").resolve()
    if not folder.is_dir():
        pytest.skip(
            f"needs real photographs and released checkpoints; {folder} does not exist, "
            "set RELIT_TEST_DATA to their folder"
        )
    return folder
