"""Curves read back from the files that the CSV logger leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from relit.errors import ConfigurationError
from relit.logged import logged_curves


def write(run: Path, version: int, *lines: str) -> None:
    file = run / "logs" / f"version_{version}" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def test_each_metric_is_a_curve_of_its_own_steps(tmp_path: Path) -> None:
    write(tmp_path, 0, "epoch,a/loss,step,val/psnr", "0,2.5,9,", "0,,10,18", "0,1.5,19,")
    assert logged_curves(tmp_path) == {"a/loss": {9: 2.5, 19: 1.5}, "val/psnr": {10: 18.0}}


def test_a_resumed_run_replaces_what_it_did_again(tmp_path: Path) -> None:
    """By number, 10 comes after 9. What 9 did beyond the first step of 10 is no part of the run."""
    write(tmp_path, 9, "a/loss,b/loss,step", "4.0,,10", "3.0,,20", ",7.0,25", "2.0,,30")
    write(tmp_path, 10, "a/loss,step", "2.5,20", "1.0,30", "0.5,40")
    assert logged_curves(tmp_path) == {"a/loss": {10: 4.0, 20: 2.5, 30: 1.0, 40: 0.5}}


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 0, "a/loss,b/loss,step", "4.0,1.0,10")
    with (tmp_path / "logs" / "version_0" / "metrics.csv").open("a") as file:
        file.write("3.0,0.5,2")  # of step 20
    assert logged_curves(tmp_path) == {"a/loss": {10: 4.0}, "b/loss": {10: 1.0}}


def test_a_run_without_a_csv_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no curves to draw.*logger=csv"):
        logged_curves(tmp_path)
