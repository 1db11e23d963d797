"""Figures of a run's photographs, shared out over processes and put together again."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from relit.measurement import Measurement
from relit.metrics import image_psnr
from relit.protocols import RGB8
from relit.run_context import RunContext
from relit.run_scores import Scored, compared, means, score_all, write_scores

COUNT = 5


def figure(index: int) -> float:
    """Sums of these depend on their order in the last bits."""
    return math.sqrt(index + 2)


def context(rank: int, world_size: int) -> RunContext:
    nothing = cast("Any", None)
    return RunContext(
        {}, Path(), {}, nothing, {}, nothing, torch.device("cpu"), 0, None, rank=rank, world_size=world_size
    )


def alone() -> list[Scored]:
    return score_all(context(0, 1), COUNT, lambda i: Scored(i, f"p{i}", "", {"result": {"psnr": figure(i)}}))


def share(rank: int, folder: str) -> None:
    """What one of two processes does: score, then fail where only the second one does."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)

    def measure(index: int) -> Scored:
        (Path(folder) / f"{index}-{rank}").touch()
        return Scored(index, f"p{index}", "", {"result": {"psnr": figure(index)}})

    def fails_on_the_second(index: int) -> Scored:
        if rank == 1:
            raise ValueError(f"photograph {index} is damaged")
        return measure(index)

    assert score_all(context(rank, 2), COUNT, measure) == alone()
    assert score_all(context(rank, 2), 1, measure) == alone()[:1]  # nothing for the second
    with pytest.raises(ValueError, match="photograph 1 is damaged"):
        score_all(context(rank, 2), COUNT, fails_on_the_second)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_measure_each_photograph_once_and_know_all_figures(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(share, (str(tmp_path),), nprocs=2)
    assert {path.name for path in tmp_path.glob("?-?")} == {"0-0", "1-1", "2-0", "3-1", "4-0"}


def test_means_are_over_the_photographs_that_have_a_figure() -> None:
    scores = [
        Scored(0, "a", "", {"input": {"psnr": 10.0}, "result": {"psnr": 20.0, "S": 0.5}}),
        Scored(1, "b", "", {"result": {"psnr": 30.0}}),
        Scored(2, "c", "", {}),
    ]
    assert means(scores) == {"input": {"psnr": 10.0}, "result": {"psnr": 25.0, "S": 0.5}}


def test_only_what_has_a_reference_is_compared() -> None:
    measurement = Measurement(RGB8, ("psnr",), torch.device("cpu"))
    pictures = {kind: torch.rand(1, 3, 12, 12) for kind in ("input", "result", "reference")}
    found = compared(measurement, pictures, ("input", "result", "other"))
    for kind in ("input", "result"):
        assert found[kind]["psnr"] == image_psnr(pictures[kind], pictures["reference"]).item()
    assert found.keys() == {"input", "result"}
    del pictures["reference"]
    assert compared(measurement, pictures, ("input", "result")) == {}


def test_the_csv_file_has_a_row_for_each_photograph_and_blanks_where_it_has_no_figure(tmp_path: Path) -> None:
    scores = [
        Scored(0, "a, b", "under", {"result": {"psnr": math.inf}}),
        Scored(1, "c", "over", {"input": {"psnr": 1 / 3}}),
    ]
    with write_scores(tmp_path, scores, RGB8).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["label"], row["protocol"]) for row in rows] == [
        ("a, b", "under", "rgb8"),
        ("c", "over", "rgb8"),
    ]
    assert [row["result_psnr"] for row in rows] == ["inf", ""]
    assert [row["input_psnr"] for row in rows] == ["", repr(1 / 3)]
