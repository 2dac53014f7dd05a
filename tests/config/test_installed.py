from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.config.installed import service_environment
from infernet_edge.config.paths import SYSTEM_FILES
from tests.support.examining import with_file

_FILE = SYSTEM_FILES[1]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return with_file(tmp_path, "etc/systemd/system/infernet-edge.service")


def test_a_command_beside_the_service_sees_what_the_service_sees(machine: Path) -> None:
    variables = {"STATE_DIRECTORY": f"{machine}/var/lib/infernet-edge"}
    assert service_environment(_FILE, {}, machine) == variables
    with_file(machine, "run/infernet-edge-podman/podman/podman.sock")
    variables["XDG_RUNTIME_DIR"] = f"{machine}/run/infernet-edge-podman"
    assert service_environment(_FILE, {}, machine) == variables
    for folder in ("etc/infernet-edge/credentials", "run/credentials/infernet-edge.service"):
        with_file(machine, f"{folder}/chain.wallet.private_key")
        variables["CREDENTIALS_DIRECTORY"] = f"{machine}/{folder}"
        assert service_environment(_FILE, {}, machine) == variables


def test_another_configuration_has_nothing_to_do_with_it(machine: Path) -> None:
    assert service_environment(Path("config.json"), {}, machine) == {}
    assert service_environment(None, {}, machine) == {}


def test_the_service_itself_needs_no_variables(machine: Path) -> None:
    assert service_environment(_FILE, {"STATE_DIRECTORY": "/var/lib/x"}, machine) == {}


def test_there_is_no_service(tmp_path: Path) -> None:
    assert service_environment(_FILE, {}, tmp_path) == {}
