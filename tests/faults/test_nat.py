"""Clients that reach the node through network address translation, as behind a home router."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.disks import as_root
from tests.support.locks import own_number
from tests.support.node import NodeProcess
from tests.support.podman import need

PUBLIC = "203.0.113.7"  # RFC 5737: nobody's; this machine does not know it
Ask = Callable[..., subprocess.CompletedProcess[str]]


@contextlib.contextmanager
def port_forward(port: int) -> Iterator[Ask]:
    """A client in a network of its own, for which PUBLIC:8080 is the node's port.

    Gives a function that runs curl there.
    """
    for program in ("ip", "iptables", "curl"):
        need(program)
    with own_number("nat", 64) as number, contextlib.ExitStack() as undone:
        space, outer, inner = f"ietest-nat{number}", f"ienat{number}", f"ienat{number}c"
        router, client = f"10.232.{number}.1", f"10.232.{number}.2"
        rule = [
            *("PREROUTING", "-i", outer, "-d", PUBLIC, "-p", "tcp", "--dport", "8080"),
            *("-j", "DNAT", "--to-destination", f"{router}:{port}"),
        ]
        within = ("ip", "netns", "exec", space)
        as_root("ip", "netns", "add", space)
        undone.callback(as_root, "ip", "netns", "delete", space)  # and the pair of devices
        as_root("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
        as_root("ip", "address", "add", f"{router}/30", "dev", outer)
        as_root("ip", "link", "set", outer, "up")
        as_root(*within, "ip", "address", "add", f"{client}/30", "dev", inner)
        as_root(*within, "ip", "link", "set", inner, "up")
        as_root(*within, "ip", "route", "add", "default", "via", router)
        as_root("iptables", "--wait", "-t", "nat", "-A", *rule)
        undone.callback(as_root, "iptables", "--wait", "-t", "nat", "-D", *rule)

        def ask(path: str, *options: str) -> subprocess.CompletedProcess[str]:
            url = f"http://{PUBLIC}:8080{path}"
            command = [*within, "curl", "--silent", "--max-time", "20", *options, url]
            return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)

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
