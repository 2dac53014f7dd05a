"""GET /api/overview of a real node."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.api.info import VERSION
from infernet_edge.api.overview.overview import MAX_BYTES
from infernet_edge.clock import milliseconds
from tests.support.breaking import read_only
from tests.support.managing import eventually
from tests.support.ports import free_port
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

TOKENS = {"ann": "0123456789abcdef", "bob": "fedcba9876543210"}
ANN = {"authorization": f"Bearer {TOKENS['ann']}"}
BOB = {"authorization": f"Bearer {TOKENS['bob']}"}


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url, "max_concurrency": 1},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


async def overview(node: RunningNode, headers: dict[str, str] | None = None) -> dict[str, Any]:
    reply = await node.get("/api/overview", headers)
    assert reply.status == 200, reply
    assert int(reply.headers["content-length"]) <= MAX_BYTES
    return dict(reply.body)


async def of_operator(node: RunningNode) -> dict[str, Any]:
    """As the operator sees it, at the control socket."""
    path = str(node.parts.config.storage_path / "control.sock")
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        session.get("http://node/api/overview") as response,
    ):
        assert response.status == 200
        return dict(await response.json())


async def test_a_new_node(node: RunningNode) -> None:
    found = await overview(node)
    assert 0 <= milliseconds() - found["now"] < 5000
    assert 0 <= found["now"] - found["started_at"] < 60_000
    assert found["node"] == {
        "name": socket.gethostname(),
        "version": VERSION,
        "urls": [],  # it listens on this machine only
        "qr": None,
    }
    assert found["me"] == {"name": "127.0.0.1", "scope": "submit", "expires_at": None, "open": True}
    assert found["intake"] == {"open": True, "reason": ""}
    assert found["jobs"] == {
        "running": 0,
        "waiting": 0,
        "hour": {"done": 0, "failed": 0, "p50_ms": None, "p95_ms": None},
    }
    assert found["history"]["step_s"] == 60
    assert 0 < found["history"]["end"] - found["now"] <= 60_000
    assert found["history"]["done"] == found["history"]["failed"] == [0] * 60
    machine = found["machine"]
    disk = os.statvfs(node.parts.config.storage_path)
    assert machine["disk_size"] == disk.f_blocks * disk.f_frsize
    assert 0 < machine["memory_used"] < machine["memory_size"]
    assert machine["disk_days_left"] is None
    listed = (await node.get("/api/containers")).body["items"]
    assert [each["id"] for each in listed] == ["echo", "down"]
    assert found["containers"] == listed
    assert (found["failures"], found["chain"]) == ([], None)
    (down,) = found["attention"]
    assert down["since"] == listed[1]["since"]
    assert (down["id"], down["level"]) == ("container.not_reached:down", "problem")
    assert down["container"] == "down"
    assert 0 <= found["now"] - down["since"] < 60_000


async def test_it_follows_the_jobs(node: RunningNode, echo: Echo) -> None:
    held = await node.job(data={"hold": True})
    waiting = await node.job()
    await eventually(lambda: echo.open == 1)
    found = await overview(node)
    assert (found["jobs"]["running"], found["jobs"]["waiting"]) == (1, 1)
    echo.release()
    for each in (held, waiting):
        await node.finished(each)
    failed = await node.job(["down"])
    error = (await node.finished(failed))["result"]["error"]
    cancelled = await node.job(data={"hold": True})
    await node.request("DELETE", f"/api/jobs/{cancelled}")
    found = await overview(node)
    hour = found["jobs"]["hour"]
    assert (hour["done"], hour["failed"]) == (2, 1)  # none for the cancelled one
    assert sum(found["history"]["done"]) == 2
    assert sum(found["history"]["failed"]) == 1
    assert hour["p50_ms"] is not None
    (failure,) = found["failures"]
    assert (failure["id"], failure["status"], failure["error"]) == (failed, "failed", error[:200])
    (known,) = (await node.get("/api/history?state=failed&container=down")).body["items"]
    assert failure["client"] == known["client"]
    assert failure["containers"] == known["containers"]
    assert failure["result_bytes"] == known["result_bytes"]
    by_id = {each["id"]: each["hour"] for each in found["containers"]}
    assert (by_id["echo"]["done"], by_id["echo"]["failed"]) == (2, 0)
    assert (by_id["down"]["done"], by_id["down"]["failed"]) == (0, 1)


async def test_each_client_sees_its_own_failures(tmp_path: Path) -> None:
    document = {
        "containers": [{"id": "down", "url": f"http://127.0.0.1:{free_port()}"}],
        "server": {"tokens": TOKENS},
    }
    async with running(tmp_path, document) as node:
        ids = {}
        for name, headers in (("ann", ANN), ("bob", BOB)):
            ids[name] = [await node.job(["down"], headers=headers) for _ in range(7)]
            for each in ids[name]:
                await node.finished(each, headers)
        assert (await node.get("/api/overview")).status == 401
        anns = await overview(node, ANN)
        assert anns["me"]["name"] == "token:ann"
        assert anns["me"]["open"] is False
        assert {each["id"] for each in anns["failures"]} <= set(ids["ann"])
        assert len(anns["failures"]) == 5
        everything = await of_operator(node)
        assert everything["me"]["scope"] == "operator"
        assert {each["client"] for each in everything["failures"]} == {"token:bob"}  # the newest


async def test_why_no_job_is_accepted(node: RunningNode) -> None:
    node.parts.store.refusal = "The disk is nearly full (storage.min_free_bytes)"
    found = await overview(node)
    assert found["intake"] == {"open": False, "reason": node.parts.store.refusal}
    (first, *_) = found["attention"]
    assert first["id"] == "storage.full"
    assert (await node.post("/api/jobs", {"containers": ["echo"], "data": {}})).status == 503
    node.parts.store.refusal = ""
    with read_only(node.parts.database):
        await node.put("/api/status", {"id": "x", "status": "running", "containers": []})
        found = await overview(node)
        assert found["intake"]["reason"] == "The database cannot be written"
        assert "storage.not_written" in [each["id"] for each in found["attention"]]
    assert (await node.job(["echo"])) is not None
    assert (await overview(node))["intake"] == {"open": True, "reason": ""}


async def test_a_full_queue_is_a_reason(tmp_path: Path) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}], "jobs": {"max_pending": 1}}
        async with running(tmp_path, document) as node:
            job = await node.job(data={"hold": True})
            found = await overview(node)
            assert found["intake"]["open"] is False
            assert "jobs.max_pending" in found["intake"]["reason"]
            echo.release()
            await node.finished(job)


async def test_others_see_no_paths_and_no_host_names(tmp_path: Path) -> None:
    containers = [{"id": "near", "image": "localhost/none:1"}]
    url = f"unix://{tmp_path}/secret-folder/podman.sock"
    document = {"containers": containers, "podman": {"url": url}, "manage_containers": True}
    async with running(tmp_path, document) as node:
        await eventually(lambda: node.parts.manager.engine_problem)
        assert (await node.get("/info", {"host": "evil.example"})).status == 403
        found = await of_operator(node)
        by_id = {each["id"]: each for each in found["attention"]}
        assert set(by_id) == {"podman", "hosts.refused"}  # one for all containers
        assert "secret-folder" in by_id["podman"]["text"]
        text = json.dumps((await overview(node))["attention"])
        assert "evil.example" not in text
        assert str(tmp_path) not in text
        assert "Podman cannot be used" in text


async def test_a_container_that_failed_is_not_left_out(tmp_path: Path) -> None:
    containers = [
        {"id": f"{number}-{'x' * 100}", "url": f"http://127.0.0.1:{free_port()}"}
        for number in range(40)
    ]
    async with running(tmp_path, {"containers": containers}) as node:
        services = list(node.parts.services.values())
        for each in services[:-1]:
            each.set_ready()
        services[-1].set_failed("no answer")
        found = await overview(node)
        assert found["left_out"]["containers"] > 0
        assert services[-1].id in [each["id"] for each in found["containers"]]


async def test_it_stays_short(tmp_path: Path) -> None:
    containers = [
        {"id": f"{number}-{'x' * 100}", "url": f"http://127.0.0.1:{free_port()}"}
        for number in range(40)
    ]
    async with running(tmp_path, {"containers": containers}) as node:
        for each in containers[:8]:
            await node.finished(await node.job([each["id"]]))
        found = await overview(node)
        left_out = found["left_out"]
        assert len(found["containers"]) + left_out["containers"] == 40
        assert len(found["attention"]) + left_out["attention"] == 20
        assert len(found["failures"]) + left_out["failures"] == 5
        assert found["attention"]
        assert found["containers"]


async def test_an_open_node_says_so_only_where_others_reach_it(tmp_path: Path) -> None:
    async with running(tmp_path, {"server": {"host": "0.0.0.0"}}) as node:
        (item,) = (await overview(node))["attention"]
        assert item["id"] == "access.open"
        assert item["command"].startswith("infernet-edge token new")
        assert (await node.node.report_status())["problems"] == []  # it is advice
    tokens = {"server": {"host": "0.0.0.0", "tokens": TOKENS}}
    async with running(tmp_path, tokens) as node:
        assert (await overview(node, ANN))["attention"] == []


async def test_tokens_that_expire(tmp_path: Path) -> None:
    async with running(tmp_path, {"server": {"tokens": TOKENS}}) as node:
        path = str(node.parts.config.storage_path / "control.sock")
        connector = aiohttp.UnixConnector(path)
        async with aiohttp.ClientSession(connector=connector) as session:
            for name, period in (("phone", "5d"), ("router", "90d")):
                body = {"name": name, "scope": "submit", "expires": period}
                async with session.post("http://node/api/tokens", json=body) as response:
                    assert response.status == 200, await response.text()
                    token = (await response.json())["token"]
        items = {each["id"]: each for each in (await of_operator(node))["attention"]}
        phone = items["token.expires:phone"]
        assert phone["actions"] == ["renew_token"]
        assert "token.expires:router" not in items
        others = await overview(node, ANN)
        assert "phone" not in json.dumps(others["attention"])  # it names a client
        router = await overview(node, {"authorization": f"Bearer {token}"})
        assert router["me"]["name"] == "token:router"
        assert router["me"]["expires_at"] > router["now"]


async def test_reasons_of_containers_are_short_and_have_no_paths_for_others(
    node: RunningNode,
) -> None:
    service = node.parts.services["echo"]
    service.set_failed(f"no GPU in /dev/dri; its last output: {'x' * 500}")
    (found, _) = (await overview(node))["containers"]
    assert found["reason"] == "no GPU in (path)."
    (found, _) = (await of_operator(node))["containers"]
    assert found["reason"].startswith("no GPU in /dev/dri; its last output: xxx")
    assert len(found["reason"]) == 200
