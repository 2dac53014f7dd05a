"""Clients that reach the node through network address translation, as behind a home router."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.disks import as_root
from tests.support.networks import second_machine
from tests.support.node import NodeProcess
from tests.support.podman import need

PUBLIC = "203.0.113.7"  # RFC 5737: nobody's; this machine does not know it
Ask = Callable[..., subprocess.CompletedProcess[str]]


@contextlib.contextmanager
def port_forward(port: int) -> Iterator[Ask]:
    """A client on another machine, for which PUBLIC:8080 is the node's port.

    Gives a function that runs curl there.
    """
    for program in ("iptables", "curl"):
        need(program)
    with second_machine() as other, contextlib.ExitStack() as undone:
        rule = [
            *("PREROUTING", "-i", other.device, "-d", PUBLIC, "-p", "tcp", "--dport", "8080"),
            *("-j", "DNAT", "--to-destination", f"{other.here}:{port}"),
        ]
        as_root("iptables", "--wait", "-t", "nat", "-A", *rule)
        undone.callback(as_root, "iptables", "--wait", "-t", "nat", "-D", *rule)

        def ask(path: str, *options: str) -> subprocess.CompletedProcess[str]:
            url = f"http://{PUBLIC}:8080{path}"
            return other.run("curl", "--silent", "--max-time", "20", *options, url)

        yield ask


def test_a_port_forward_needs_no_setting(tmp_path: Path) -> None:
    node = NodeProcess({"server": {"host": "0.0.0.0"}}, tmp_path)
    with node, port_forward(node.port) as ask:
        assert json.loads(ask("/health").stdout) == {"status": "healthy"}
        assert json.loads(ask("/info").stdout)["containers"] == []
        status = ("--output", "/dev/null", "--write-out", "%{http_code}")
        assert ask("/api/jobs", *status).stdout == "200"
        # A page that points its own name at that address is still refused.
        assert ask("/info", *status, "--header", "host: evil.example").stdout == "403"
        assert ask("/health", *status, "--header", "host: evil.example").stdout == "200"
