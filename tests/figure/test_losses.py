"""Figures of runs, and the command that draws them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from relit.cli import main
from relit.figure.losses import losses, running_mean

LOG = "alpha/l1,alpha/loss,beta/loss,val/psnr,step\n4,5,,,1\n2,3,,,2\n,,,18,2\n,,0.5,,3\n,,0.25,,4\n"


def run_at(folder: Path, text: str = LOG) -> Path:
    file = folder / "logs" / "version_0" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return folder


def test_a_running_mean_counts_the_past_by_its_age() -> None:
    """The second is (0.9 a + b) / (0.9 + 1): without the division it would begin far too low."""
    assert running_mean([3.0, 5.0]) == pytest.approx([3.0, (0.9 * 3 + 5) / 1.9])
    assert running_mean([2.0] * 5) == pytest.approx([2.0] * 5)


def test_each_stage_has_a_panel_in_the_order_of_training_and_each_run_a_line(tmp_path: Path) -> None:
    swapped = "beta/loss,alpha/l1,alpha/loss,step\n,4,6,1\n,1,2,2\n1.0,,,3\n"
    runs = [run_at(tmp_path / "b", swapped), run_at(tmp_path / "a")]
    alpha, beta = losses(runs).axes
    assert [panel.get_title() for panel in (alpha, beta)] == ["alpha", "beta"]
    legend = alpha.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["l1", "loss"]
    lines = [list(line.get_ydata()) for line in alpha.get_lines()]
    expected = [[4, 1], [4, 2], [6, 2], [5, 3]]
    assert lines == [pytest.approx(running_mean(values)) for values in expected]
    assert [list(line.get_xdata()) for line in beta.get_lines()] == [[3], [3, 4]]


def test_losses_that_are_not_all_positive_are_drawn_on_a_linear_axis(tmp_path: Path) -> None:
    (positive,) = losses([run_at(tmp_path / "a", "a/loss,step\n1,1\n")]).axes
    (mixed,) = losses([run_at(tmp_path / "b", "a/loss,step\n1,1\n-1,2\n")]).axes
    assert (positive.get_yscale(), mixed.get_yscale()) == ("log", "linear")


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_command_writes_the_format_that_the_name_says(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"figure.{kind}"
    assert main(["figure", "losses", str(run_at(tmp_path / "run")), "-o", str(file)]) == 0
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert file.read_bytes().startswith(begins[kind])
    if kind == "png":
        assert Image.open(file).width > Image.open(file).height


@pytest.mark.parametrize(
    ("runs", "output", "says"),
    [
        ("run", "figure.jpeg", "ends in one of png, svg, pdf"),
        ("nothing", "figure.png", "no curves to draw"),
        ("empty", "figure.png", "no stage has logged a loss yet"),
    ],
)
def test_what_can_not_be_drawn_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: str, output: str, says: str
) -> None:
    run_at(tmp_path / "run")
    run_at(tmp_path / "empty", "val/psnr,step\n18,2\n")
    assert main(["figure", "losses", str(tmp_path / runs), "-o", str(tmp_path / output)]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / output).exists()
