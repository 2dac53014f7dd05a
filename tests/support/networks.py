"""A second machine, as far as the network goes: a network namespace with an address of its own.

with second_machine() as other:
    other.run("curl", f"http://{other.here}:{port}/health")
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.disks import as_root
from tests.support.locks import own_number
from tests.support.podman import need


class SecondMachine(NamedTuple):
    """`here` is this machine's address as seen from there, `device` the way there."""

    here: str
    address: str
    device: str
    within: tuple[str, ...]

    def run(self, *command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command there that has to succeed."""
        return subprocess.run(
            [*self.within, *command], capture_output=True, text=True, timeout=timeout, check=True
        )


@contextlib.contextmanager
def second_machine() -> Iterator[SecondMachine]:
    """A network with two addresses: one is this machine's, the other one the second machine's."""
    need("ip")
    with own_number("network", 64) as number, contextlib.ExitStack() as undone:
        space, outer, inner = f"ietest-net{number}", f"ienet{number}", f"ienet{number}c"
        here, there = f"10.232.{number}.1", f"10.232.{number}.2"
        within = ("ip", "netns", "exec", space)
        as_root("ip", "netns", "add", space)
        undone.callback(as_root, "ip", "netns", "delete", space)
        as_root("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
        # At once: with the namespace the kernel would remove the pair of devices some time later.
        undone.callback(as_root, "ip", "link", "delete", outer)
        as_root("ip", "address", "add", f"{here}/30", "dev", outer)
        as_root("ip", "link", "set", outer, "up")
        as_root(*within, "ip", "address", "add", f"{there}/30", "dev", inner)
        as_root(*within, "ip", "link", "set", inner, "up")
        as_root(*within, "ip", "route", "add", "default", "via", here)
        yield SecondMachine(here, there, outer, within)
