"""Figures of runs, and the command that draws them."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from relit.cli import main
from relit.curves import running_mean
from relit.figure.losses import losses
from relit.run_state import FinishedStage, RunState, write_state

LOG = "alpha/l1,alpha/loss,beta/loss,val/psnr,step\n4,5,,,1\n2,3,,,2\n,,,18,2\n,,0.5,,3\n,,0.25,,4\n"


def run_at(folder: Path, text: str = LOG, **stages: int) -> Path:
    """A run that logged ``text``; ``stages`` are finished, with their steps."""
    stages = stages or {"alpha": 3, "beta": 2}
    file = folder / "logs" / "version_0" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    config = {
        **{"name": folder.name, "seed": 3, "trainer": {"log_every_n_steps": 10}, "plan": list(stages)},
        "stage": {name: {"steps": steps} for name, steps in stages.items()},
    }
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    finished = [FinishedStage(place, *stage) for place, stage in enumerate(stages.items(), start=1)]
    write_state(folder, RunState("id", {}, finished))
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
    assert [text.get_text() for text in legend.get_texts()] == ["loss", "l1"]
    lines = [list(line.get_ydata()) for line in alpha.get_lines()]
    assert lines == [[6, 2], [5, 3], [4, 1], [4, 2]]
    assert [list(line.get_xdata()) for line in beta.get_lines()] == [[3], [3, 4]]


def test_long_curves_are_smoothed_with_what_was_logged_behind_them(tmp_path: Path) -> None:
    values = [float(step % 3) for step in range(30)]
    rows = "".join(f"{value},{step}\n" for step, value in enumerate(values))
    (panel,) = losses([run_at(tmp_path / "a", f"a/loss,step\n{rows}", a=30)]).axes
    faint, smooth = (list(line.get_ydata()) for line in panel.get_lines())
    assert faint == values
    assert smooth == pytest.approx(running_mean(values))


def test_only_losses_over_decades_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    wide = "a/loss,a/psnr,step\n1,0.1,1\n0.01,40,2\n"
    loss, psnr = losses([run_at(tmp_path / "a", wide)]).axes
    (mixed,) = losses([run_at(tmp_path / "b", "a/loss,step\n1,1\n-1,2\n")]).axes
    assert [panel.get_yscale() for panel in (loss, psnr, mixed)] == ["log", "linear", "linear"]


def test_what_is_no_loss_has_a_panel_of_its_own_that_says_what_it_is(tmp_path: Path) -> None:
    text = "a/accuracy,a/loss,a/psnr,b/loss,step\n0.5,2,30,,9\n,,,1,19\n"
    figure = losses([run_at(tmp_path / "a", text, a=10, b=10)])
    assert [panel.get_title() for panel in figure.axes] == ["a", "b", "", ""]
    by_title = {
        panel.get_ylabel(): list(panel.get_lines()[0].get_ydata())
        for panel in figure.axes
        if panel.get_title() != "b"
    }
    assert by_title == {"loss": [2], "accuracy": [0.5], "PSNR (dB)": [30]}


def test_a_single_point_is_a_dot(tmp_path: Path) -> None:
    (panel,) = losses([run_at(tmp_path / "a", "a/loss,step\n2,9\n", a=10)]).axes
    (dot,) = panel.get_lines()
    assert (dot.get_marker(), list(dot.get_xdata()), list(dot.get_ydata())) == ("o", [9], [2])


def test_a_line_breaks_where_another_stage_was_trained_in_between(tmp_path: Path) -> None:
    """Two rounds: steps 0 to 19 and 30 to 49 are of the stage, those between of the other one."""
    text = "a/loss,b/loss,step\n1,,9\n2,,19\n,7,29\n3,,39\n4,,49\n"
    run = run_at(tmp_path / "a", text)
    finished = [FinishedStage(1, "a", 20), FinishedStage(2, "b", 10), FinishedStage(3, "a", 20)]
    write_state(run, RunState("id", {}, finished))
    lines = losses([run]).axes[0].get_lines()
    assert [list(line.get_xdata()) for line in lines] == [[9, 19], [39, 49]]


def test_the_legend_covers_no_line(tmp_path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = losses([run_at(tmp_path / "a")])
    FigureCanvasAgg(figure).draw()
    panel = figure.axes[0]
    legend = panel.get_legend()
    assert legend is not None
    assert legend.get_window_extent().x0 >= panel.get_window_extent().x1
    assert legend.get_window_extent().x1 <= figure.axes[1].get_window_extent().x0


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
        ("nothing", "figure.png", "is no run directory"),
        ("silent", "figure.png", "no curves to draw"),
        ("short", "figure.png", "every 10 steps of its own (trainer.log_every_n_steps), and none was that"),
        ("begun", "figure.png", "every 10 steps (trainer.log_every_n_steps). Wait"),
    ],
)
def test_what_can_not_be_drawn_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: str, output: str, says: str
) -> None:
    run_at(tmp_path / "run")
    run_at(tmp_path / "short", "val/psnr,step\n18,2\n", a=4, b=3)
    write_state(run_at(tmp_path / "begun", "val/psnr,step\n18,2\n", a=20), RunState("id", {}, []))
    (run_at(tmp_path / "silent") / "logs" / "version_0" / "metrics.csv").unlink()
    assert main(["figure", "losses", str(tmp_path / runs), "-o", str(tmp_path / output)]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / output).exists()
