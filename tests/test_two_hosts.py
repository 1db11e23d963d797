"""torchrun on two hosts, which are network namespaces of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_regression import toy_config
from two_hosts import DEVICE, Host, NotPermitted, two_hosts
from two_processes import all_weights

from relit.stages import run_stages

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests" / "toys"


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    try:
        with two_hosts() as pair:
            yield pair
    except NotPermitted as reason:
        pytest.skip(f"needs network namespaces: {reason}")


def start_torchrun(host: Host, first: Host, rank: int, folder: Path) -> subprocess.Popen[str]:
    """``torchrun ... train.py ...`` as its user would type it on ``host``."""
    return subprocess.Popen(
        host.command(
            sys.executable, "-m", "torch.distributed.run",
            "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1",
            f"--master-addr={first.address}", "--master-port=29500",
            str(ROOT / "train.py"), f"--config-dir={TOYS / 'conf'}",
            "experiment=toy", "rounds=1", "logger=none",
            "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2",
        ),
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(TOYS)]),
            "GLOO_SOCKET_IFNAME": DEVICE,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_two_hosts_learn_what_one_process_learns_from_the_doubled_batch(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    torchruns = [start_torchrun(host, hosts[0], rank, tmp_path) for rank, host in enumerate(hosts)]
    try:
        said = [torchrun.communicate(timeout=600)[0] for torchrun in torchruns]
    finally:
        for torchrun in torchruns:
            torchrun.kill()
            torchrun.wait()
    assert [torchrun.returncode for torchrun in torchruns] == [0, 0], "\n".join(said)

    one = tmp_path / "runs" / "one"
    run_stages(toy_config(one, rounds=1, logger=None, data__batch_size=8))
    expected, found = all_weights(one), all_weights(tmp_path / "runs" / "toy")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=lambda m, n=name: f"{n}: {m}")
    # each host was trained on its half of every batch
    halves = [
        [json.loads(line)["positions"] for line in (tmp_path / f"runs/toy/seen-{rank}.jsonl").open()]
        for rank in (0, 1)
    ]
    whole = [json.loads(line)["positions"] for line in (one / "seen-0.jsonl").open()]
    assert [sorted(left + right) for left, right in zip(*halves, strict=True)] == whole
