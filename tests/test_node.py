"""The node as a whole: started, stopped, started in vain, killed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import pytest

from infernet_edge.errors import StartupError
from infernet_edge.jobs.housekeeping import Housekeeper
from infernet_edge.node import Node
from infernet_edge.storage.pages import PAGE_BYTES
from tests.support.echo import EchoService
from tests.support.managing import eventually
from tests.support.node import NodeProcess
from tests.support.ports import free_port
from tests.support.running import configuration, running
from tests.support.serving import Echo, serving


def left_running() -> set[str]:
    """Threads of ours, and tasks beside the test's own."""
    tasks = {str(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    threads = {thread.name for thread in threading.enumerate() if "database" in thread.name}
    return tasks | threads


async def test_a_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    node = Node(configuration(tmp_path))
    await node.start()
    assert left_running()
    await node.stop()
    await node.stop()
    await eventually(lambda: not left_running())
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == [
        "infernet-edge.sqlite",
        "lock",
    ]


async def test_a_stop_without_a_start(tmp_path: Path) -> None:
    await Node(configuration(tmp_path)).stop()
    assert not (tmp_path / "data").exists()


async def test_nothing_leaks_over_many_starts(tmp_path: Path) -> None:
    process = psutil.Process()
    async with running(tmp_path):
        pass
    before = process.num_fds()
    for _ in range(10):
        async with running(tmp_path) as node:
            assert (await node.get("/health")).status == 200
    assert process.num_fds() <= before + 3


async def test_a_busy_port_fails_before_anything_is_begun(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = Node(configuration(tmp_path, {"server": {"port": port}}))
        with pytest.raises(StartupError, match=f"port {port}"):
            await node.start()
    assert not node.config.database_path.exists()
    await eventually(lambda: not left_running())


async def test_a_second_start_of_a_node_names_the_first(tmp_path: Path) -> None:
    """Also where both have the same port."""
    port = free_port()
    async with running(tmp_path, {"server": {"port": port}}) as first:
        for other in (port, free_port()):
            second = Node(configuration(tmp_path, {"server": {"port": other}}))
            with pytest.raises(StartupError, match="This node runs already") as refused:
                await second.start()
            assert f"process {os.getpid()}, {first.url};" in str(refused.value)
            assert str(tmp_path / "data") in str(refused.value)
        socket.create_server(("127.0.0.1", other)).close()
        assert (await first.get("/health")).status == 200


async def test_a_damaged_file_too_large_to_be_checked_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its damage shows when the node reads its unfinished jobs."""
    monkeypatch.setattr("infernet_edge.storage.database._MAX_CHECKED", -1)
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            path = node.parts.config.database_path
            jobs = [{"containers": ["echo"], "data": {}}] * 50
            answers = (await node.post("/api/jobs/batch", jobs)).body
            await node.finished(answers[-1]["id"])
        with contextlib.closing(sqlite3.connect(path)) as connection:
            question = "SELECT rootpage FROM sqlite_master WHERE name = 'jobs'"
            (page,) = connection.execute(question).fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        with path.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xa5" * size)
        async with running(tmp_path, document) as node:
            # Their leaves are intact.
            assert (await node.get("/api/jobs")).body == [each["id"] for each in answers]
            assert (await node.finished(await node.job()))["status"] == "success"
            assert (await node.get("/health")).body == {"status": "healthy"}
        assert len(list(path.parent.glob("*.corrupt-*"))) == 1


@pytest.mark.parametrize("table", ["transactions", "unfinished_deliveries"])
async def test_damage_in_the_tables_of_the_chain_makes_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Its damage shows when the chain's part is started."""
    monkeypatch.setattr("infernet_edge.storage.database._MAX_CHECKED", -1)
    url = f"http://127.0.0.1:{free_port()}"
    wallet = {"private_key": "0x" + "1" * 64}
    addresses = {"registry_address": "0x" + "1" * 40, "coordinator_address": "0x" + "2" * 40}
    document = {"chain": {"enabled": True, "rpc_url": url, "wallet": wallet, **addresses}}
    async with running(tmp_path, document) as node:
        path = node.parts.config.database_path
    with contextlib.closing(sqlite3.connect(path)) as connection:
        question = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = connection.execute(question, (table,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xa5" * PAGE_BYTES)
    async with running(tmp_path, document) as node:
        assert (await node.get("/health")).body == {"status": "healthy"}
        assert len(list(path.parent.glob("*.corrupt-*"))) == 1


async def test_a_file_that_cannot_be_read_is_reported_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("infernet_edge.jobs.table.unfinished", unreadable)
    node = Node(configuration(tmp_path))
    with pytest.raises(StartupError, match=r"disk I/O error\. Check the disk of "):
        await node.start()
    await eventually(lambda: not left_running())
    assert list(tmp_path.rglob("*.corrupt-*")) == []


async def test_a_node_that_failed_to_start_can_start_later(tmp_path: Path) -> None:
    node = Node(configuration(tmp_path))
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(StartupError):
        await node.start()
    (tmp_path / "data").unlink()
    async with running(tmp_path) as later:
        assert (await later.get("/health")).status == 200


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({"host": "0.0.0.0", "port": 4000}, "http://127.0.0.1:4000"),
        ({"host": "::", "port": 4000}, "http://127.0.0.1:4000"),
        ({"host": "10.0.0.5", "port": 80}, "http://10.0.0.5:80"),
        ({"host": "fd00::5", "port": 80}, "http://[fd00::5]:80"),
        ({"host": "node.local", "port": 4001}, "http://node.local:4001"),
    ],
)
def test_the_url_of_a_node(tmp_path: Path, server: dict[str, Any], url: str) -> None:
    assert Node(configuration(tmp_path, {"server": server})).url == url


async def test_it_is_ready_when_its_containers_have_answered_or_failed(tmp_path: Path) -> None:
    async with serving(Echo()) as url:
        containers = [
            {"id": "echo", "url": url},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        async with running(tmp_path, {"containers": containers}) as node:
            states = {service.id: service.state for service in node.node.services.values()}
            assert states == {"echo": "ready", "down": "failed"}


async def test_a_container_that_is_down_does_not_hold_up_the_start(tmp_path: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # accepts, never answers
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    node = Node(configuration(tmp_path, {"containers": [{"id": "silent", "url": url}]}))
    async with asyncio.timeout(10):
        await node.start()
        await node.wait_until_ready(0.1)
        async with aiohttp.ClientSession() as session, session.get(node.url + "/info") as reply:
            assert (await reply.json())["containers"] == []
        await node.stop()
    silent.close()


def submit_until_it_dies(node: NodeProcess, acknowledged: list[str], number: int) -> None:
    """Send jobs, one after the other, and note each id that comes back."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    body = msgspec.json.encode({"containers": ["echo", "echo"], "data": {"worker": number}})
    headers = {"content-type": "application/json"}
    try:
        while True:
            connection.request("POST", "/api/jobs", body, headers)
            answer = msgspec.json.decode(connection.getresponse().read())
            acknowledged.append(answer["id"])
    except (OSError, http.client.HTTPException):
        pass  # it is dead
    finally:
        connection.close()


@pytest.mark.parametrize("after", [1, 200])
async def test_no_acknowledged_job_is_lost(tmp_path: Path, after: int) -> None:
    """Killed in the middle of a stream of jobs, the node resumes every one that it accepted."""
    acknowledged: list[str] = []
    with (
        EchoService(tmp_path) as echo,
        NodeProcess({"containers": [{"id": "echo", "url": echo.url}]}, tmp_path) as node,
        ThreadPoolExecutor(8) as pool,
    ):
        for number in range(8):
            pool.submit(submit_until_it_dies, node, acknowledged, number)
        await eventually(lambda: len(acknowledged) >= after)
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(pool.shutdown)
        await asyncio.to_thread(node.restart)
        states = await outcomes(node.url, acknowledged)
        assert set(states) == set(acknowledged)
        assert set(states.values()) == {"success"}


async def outcomes(url: str, identifiers: list[str]) -> dict[str, str]:
    """Status by id, once no job is running any more."""
    async with aiohttp.ClientSession(url) as session, asyncio.timeout(60):
        while True:
            found: dict[str, str] = {}
            for start in range(0, len(identifiers), 500):
                parameters = [("id", one) for one in identifiers[start : start + 500]]
                async with session.get("/api/jobs", params=parameters) as reply:
                    found |= {job["id"]: job["status"] for job in await reply.json()}
            if "running" not in found.values():
                return found
            await asyncio.sleep(0.05)


async def test_a_background_task_that_fails_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Housekeeper) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Housekeeper, "run", broken)
    async with running(tmp_path) as node:
        await eventually(lambda: node.parts.background.problems != [])
        assert (await node.get("/health")).body == {"status": "unhealthy"}
        status = await node.node.report_status()
        (problem,) = status["problems"]
        assert "'housekeeping'" in problem
        assert "a defect" in problem
