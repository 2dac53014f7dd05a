from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.locks import own_number
from tests.support.podman import need, podman, podman_environment
from tests.support.ports import free_port


def ip(*arguments: str) -> str:
    return subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, timeout=30, check=True
    ).stdout


def nat(*arguments: str) -> None:
    command = ["iptables", "--wait", "--table", "nat", *arguments]
    subprocess.run(command, timeout=30, check=True)


@pytest.mark.podman
@pytest.mark.skipif(os.getuid() != 0, reason="without root there is no bridge on the machine")
def test_what_killed_tests_left_of_a_network_is_removed(tmp_path: Path) -> None:
    """Else its subnet and ports would be taken for later tests, until the machine starts again."""
    need("podman")
    need("iptables")
    with own_number("network", 256) as number:
        bridge = f"ietest{number}"
        if bridge not in ip("-brief", "link"):
            ip("link", "add", bridge, "type", "bridge")
            ip("address", "add", f"10.231.{number}.1/24", "dev", bridge)
            ip("link", "set", bridge, "up")
        # What a container leaves whose Podman was killed.
        chain, port = f"IETEST-{os.getpid()}", free_port()
        comment = f"dnat name: infernet-test-{number} id: {'0' * 64}"
        described = ("-p", "tcp", "--dport", str(port), "-m", "comment", "--comment", comment)
        nat("--new-chain", chain)
        nat("--append", "OUTPUT", "-d", "127.0.0.1", *described, "-j", chain)
        nat("--append", chain, "-p", "tcp", "-j", "DNAT", "--to-destination", "10.231.0.2:1")
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="timed out"):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        environment = podman_environment(tmp_path, number)
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        nat("--delete-chain", chain)
        assert f"infernet-test-{number}" in podman(environment, "network", "ls")
        podman(environment, "rmi", "--all", "--force")
