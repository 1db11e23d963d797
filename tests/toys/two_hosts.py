"""Two hosts on one machine: network namespaces that a pair of virtual Ethernet devices connects."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

DEVICE = "veth0"


class NotPermitted(Exception):  # noqa: N818 - it says what happened
    """This machine, or this user, can't have network namespaces; the message says why."""


@dataclass(frozen=True)
class Host:
    """One of the two.

    Attributes:
        namespace: name of its network namespace.
        address: IPv4 address, which the other one reaches.
    """

    namespace: str
    address: str

    def command(self, *command: str) -> list[str]:
        """``command``, to be run there."""
        return ["ip", "netns", "exec", self.namespace, *command]


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach each other and nothing else; they are gone at the end.

    Raises:
        NotPermitted: it takes root (CAP_NET_ADMIN and CAP_SYS_ADMIN) and iproute2.
    """
    if shutil.which("ip") is None:
        raise NotPermitted("there is no `ip`; install iproute2")
    # the addresses are TEST-NET-1's, which no real network has
    hosts = [Host(f"relit-{os.getpid()}-{index}", f"192.0.2.{index}") for index in (1, 2)]
    with contextlib.ExitStack() as stack:
        for host in hosts:
            _ip("netns", "add", host.namespace)
            stack.callback(_ip, "netns", "delete", host.namespace)
        ends = [f"name {DEVICE} netns {host.namespace}".split() for host in hosts]
        _ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for host in hosts:
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", DEVICE)
            for device in ("lo", DEVICE):
                _ip("-n", host.namespace, "link", "set", device, "up")
        yield hosts[0], hosts[1]


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise NotPermitted(f"`ip {' '.join(arguments)}`: {error.stderr.strip()}; it takes root") from error
