from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.locks import own_number
from tests.support.podman import need, podman, podman_environment


def ip(*arguments: str) -> str:
    return subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, timeout=30, check=True
    ).stdout


@pytest.mark.podman
@pytest.mark.skipif(os.getuid() != 0, reason="without root there is no bridge on the machine")
def test_a_bridge_that_killed_tests_left_is_removed(tmp_path: Path) -> None:
    """Else its subnet would be taken for all later tests, until the machine is started again."""
    need("podman")
    with own_number("network", 256) as number:
        bridge = f"ietest{number}"
        if bridge not in ip("-brief", "link"):
            ip("link", "add", bridge, "type", "bridge")
            ip("address", "add", f"10.231.{number}.1/24", "dev", bridge)
            ip("link", "set", bridge, "up")
        environment = podman_environment(tmp_path, number)
        assert f"infernet-test-{number}" in podman(environment, "network", "ls")
        podman(environment, "rmi", "--all", "--force")
