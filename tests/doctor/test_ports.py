from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.containers.podman import Found
from infernet_edge.doctor import ports
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding
from tests.support.ports import free_port
from tests.support.running import configuration, running


async def check(folder: Path, port: int, *of_containers: int, **server: Any) -> Finding:
    containers = [
        {"id": f"c{each}", "image": "localhost/x", "port": each} for each in of_containers
    ]
    document = {
        "server": {"port": port, **server},
        "manage_containers": True,
        "containers": containers,
        "podman": {"url": f"unix://{folder}/none.sock"},
    }
    return await finding(ports, configuration(folder, document))


async def test_free_ones(tmp_path: Path) -> None:
    one, other = sorted([free_port(), free_port()])
    found = await check(tmp_path, one, other)
    assert found == Finding("ok", f"free for the API: {one}; free for containers: {other}")


async def test_the_apis_is_taken_and_by_whom(tmp_path: Path) -> None:
    port = free_port()
    program = (
        f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(flush=True);"
        " input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = await check(tmp_path, port)
        assert found.command == f"kill {other.pid}"
        assert os.system(found.command) == 0
    assert found.level == "problem"
    assert found.text.startswith(f"port {port} is in use by python")
    assert f"({other.pid})" in found.text
    assert "server.port" in found.remedy
    assert (await check(tmp_path, port)).level == "ok"


async def test_a_containers_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = await check(tmp_path, free_port(), port)
    assert found.level == "warning"
    assert f"port {port} of container c{port} is in use by " in found.text
    assert f"({os.getpid()})" in found.text
    assert found.command == ""  # the node gets along with it


@pytest.mark.parametrize("paused", [False, True])
async def test_what_a_killed_nodes_containers_hold_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    class Left:
        def containers(self, node: str) -> list[Found]:
            found = Found("1", "c", "", running=not paused, exit_code=0, port=port)
            return [found._replace(paused=paused)]

    async def engine(self: object) -> Left:
        return Left()

    monkeypatch.setattr("infernet_edge.doctor.context.Case.engine", engine)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert (await check(tmp_path, free_port(), port)).level == "ok"


async def test_an_address_of_another_machine(tmp_path: Path) -> None:
    found = await check(tmp_path, free_port(), host="192.0.2.1")  # RFC 5737: nobody's
    assert found.level == "problem"
    assert "server.host" in found.remedy


async def test_a_node_that_this_user_may_not_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(self: object) -> None:
        raise PermissionError

    monkeypatch.setattr("infernet_edge.control.client._UnixConnection.connect", forbid)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = await check(tmp_path, taken.getsockname()[1])
    assert (found.level, found.text[:11]) == ("unknown", "not checked")


async def test_the_running_node_has_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        found = await finding(ports, node.node.config)
    assert found == Finding("ok", "the running node uses them")
