"""A SLURM cluster of one node for as long as a test lasts: its own directory, ports and key, no systemd."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")

# The node claims 16 CPUs and two GPUs, so that conf/cluster/slurm.yaml can ask for what it always asks for;
# SLURM binds nothing here. `cred_expire` is also how long a job that is queued again has to wait.
CONFIGURATION = """\
ClusterName=relit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
JobRequeue=1
KillWait=15
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=5
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=16 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=graceful Nodes=localhost PriorityTier=1 PreemptMode=REQUEUE GraceTime=300
PartitionName=urgent Nodes=localhost PriorityTier=2 PreemptMode=OFF
"""


def missing_programs() -> list[str]:
    """Those of SLURM and munge that are not installed."""
    return [name for name in PROGRAMS if _which(name) is None]


@dataclass
class Cluster:
    """A running cluster.

    Attributes:
        folder: where its files are.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What SLURM's commands need to find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands prints."""
        return subprocess.run(
            command, env={**os.environ, **self.environment}, check=True, capture_output=True, text=True
        ).stdout

    def job(self, number: str) -> dict[str, str]:
        """The fields of ``scontrol show job``."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.ask("scontrol", "show", "job", number)))

    def clear(self) -> None:
        """Cancel all jobs and wait until they are gone."""
        self.ask("scancel", "--full", f"--user={os.getuid()}")
        _wait_for(lambda: not self.ask("squeue", "--noheader"), 60)

    def logs(self) -> str:
        """What the daemons noted, for the message of a test that fails."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def one_node_cluster() -> Iterator[Cluster]:
    """Start the daemons, wait until the node is idle; stop them at the end, and what they started."""
    # not pytest's directory: munged wants a socket that everyone can reach
    folder = Path(tempfile.mkdtemp(prefix="relit-slurm-"))
    folder.chmod(0o755)
    daemons: list[subprocess.Popen[bytes]] = []
    cluster = Cluster(folder)
    # with SIGTERM, as `timeout` sends it, what runs in here ends as with Ctrl-C
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _configure(folder)
        for command in _commands(folder):
            daemons.append(_start(command, folder / f"{command[0]}-said.log"))
        _wait_until_idle(cluster, daemons)
        yield cluster
    finally:
        _stop(cluster, daemons)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _configure(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        ports = {"controller_port": first.getsockname()[1], "node_port": second.getsockname()[1]}
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(host=host, folder=folder, user=f"{os.getuid()}", **ports)
    (folder / "slurm.conf").write_text(text)
    # any devices that are there; nothing restricts or opens them
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")


def _commands(folder: Path) -> Iterator[Sequence[str]]:
    files = {"socket": "munge.socket", "key": "munge.key", "pid": "munge.pid", "seed": "munge.seed"}
    munge = [f"--{name}{'' if name == 'socket' else '-file'}={folder / file}" for name, file in files.items()]
    yield ["munged", "--foreground", "--force", *munge, f"--log-file={folder / 'munge.log'}"]
    _wait_for((folder / "munge.socket").exists, 10)
    yield ["slurmctld", "-D", "-f", str(folder / "slurm.conf")]
    yield ["slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", "localhost"]


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    program = _which(command[0])
    assert program is not None
    with log.open("wb") as said:
        return subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def _wait_until_idle(cluster: Cluster, daemons: Sequence[subprocess.Popen[bytes]]) -> None:
    def idle() -> bool:
        if any(daemon.poll() is not None for daemon in daemons):
            raise RuntimeError(f"a daemon of SLURM has ended\n{cluster.logs()}")
        with contextlib.suppress(subprocess.CalledProcessError):
            return "State=IDLE " in cluster.ask("scontrol", "show", "node", "localhost")
        return False

    if not _wait_for(idle, 60):
        raise RuntimeError(f"the node is not ready after a minute\n{cluster.logs()}")


def _stop(cluster: Cluster, daemons: Sequence[subprocess.Popen[bytes]]) -> None:
    with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
        cluster.clear()
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


def _which(name: str) -> str | None:
    """Debian keeps daemons where not every user looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
