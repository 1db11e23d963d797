"""Shared fixtures: where the real photographs are, and one thread per test process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _deterministic_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and released checkpoints that stands beside a developer's checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the real photographs and released checkpoints in {folder}")
    return folder
