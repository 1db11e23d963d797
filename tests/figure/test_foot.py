"""What stands at a figure's foot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lit_run import lit_run
from matplotlib.figure import Figure
from PIL import Image

from relit.cli import main
from relit.figure.foot import Measured, add_foot


def foot_of(runs: list[Path], measured: Measured | None, width: float = 20) -> str:
    figure = Figure(figsize=(width, 2))
    add_foot(figure, runs, measured)
    (text,) = figure.texts
    return text.get_text()


def test_it_names_the_runs_their_seeds_and_all_their_steps(tmp_path: Path) -> None:
    """Six stages of one step each."""
    runs = [lit_run(tmp_path / "a"), lit_run(tmp_path / "b", name="other", seed=7)]
    assert foot_of(runs, None) == "lit: seed 0, 6 steps  |  other: seed 7, 6 steps"


@pytest.mark.parametrize(
    ("measured", "protocol"),
    [
        ("PSNR", "PSNR: protocol rgb8 (RGB, rounded to 8 bits), data.test_size=64"),
        (
            "S",
            "scores: tiny-ViT embedded, logit scale 20, photographs rounded to 8 bits, data.test_size=64",
        ),
    ],
)
def test_numbers_come_with_their_protocol(tmp_path: Path, measured: Measured, protocol: str) -> None:
    assert foot_of([lit_run(tmp_path / "a")], measured) == f"lit: seed 0, 6 steps  |  {protocol}"


def test_many_runs_take_several_lines_and_none_is_lost(tmp_path: Path) -> None:
    run = lit_run(tmp_path / "a")
    said = foot_of([run] * 9, None, width=4)
    assert said.count("\n") >= 2
    assert said.replace("\n", " ").count("lit: seed 0, 6 steps") == 9


def test_the_file_shows_it_below_all_else(tmp_path: Path) -> None:
    run, file = lit_run(tmp_path / "a"), tmp_path / "figure.png"
    (run / "logs" / "version_0").mkdir(parents=True)
    (run / "logs" / "version_0" / "metrics.csv").write_text("a/loss,step\n1,1\n2,2\n")
    assert main(["figure", "losses", str(run), "-o", str(file)]) == 0
    ink = (np.asarray(Image.open(file).convert("L")) < 200).any(axis=1)
    assert not ink[-4:].any()
    assert not ink[:4].any()
    # from below: the margin, the foot, a gap, the axis
    rows = np.flatnonzero(np.diff(ink[::-1].astype(int)))
    foot = rows[1] - rows[0]
    assert 8 <= foot <= 20
