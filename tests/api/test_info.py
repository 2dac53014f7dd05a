"""GET /health, /info and /resources."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge import __version__
from tests.support.breaking import read_only
from tests.support.ports import free_port
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving


async def test_health(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        reply = await node.get("/health")
        assert (reply.status, reply.body) == (200, {"status": "healthy"})
        assert reply.headers["content-type"] == "application/json"
        head = await node.request("HEAD", "/health")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == reply.headers["content-length"]


async def test_a_node_that_cannot_store_is_unhealthy_until_it_can(tmp_path: Path) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            with read_only(node.parts.database):
                request = {"containers": ["echo"], "data": {}}
                assert (await node.post("/api/jobs", request)).status == 503
                assert (await node.get("/health")).body == {"status": "unhealthy"}
            await node.job()
            assert (await node.get("/health")).body == {"status": "healthy"}
            node.parts.store.refusal = "The disk is nearly full"
            reply = await node.get("/health")
            assert (reply.status, reply.body) == (200, {"status": "unhealthy"})


async def test_a_node_without_any_managed_container_running_is_unhealthy(tmp_path: Path) -> None:
    """Services elsewhere do not count: the node cannot do anything for them."""
    document = {
        "manage_containers": True,
        "podman": {"url": f"unix://{tmp_path}/missing.sock"},
        "containers": [
            {"id": "a", "image": "localhost/a:1", "port": free_port()},
            {"id": "b", "image": "localhost/b:1", "port": free_port()},
        ],
    }
    async with running(tmp_path, document) as node:
        assert (await node.get("/health")).body == {"status": "unhealthy"}
        node.parts.services["b"].set_ready()
        assert (await node.get("/health")).body == {"status": "healthy"}
        assert [c["id"] for c in (await node.get("/info")).body["containers"]] == ["b"]


async def test_info(tmp_path: Path) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {
            "containers": [
                {"id": "echo", "url": url, "image": "i:1", "description": "repeats its input"},
                {"id": "internal", "url": url, "external": False},
                {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
            ]
        }
        async with running(tmp_path, document) as node:
            held = [await node.job(data={"hold": True}) for _ in range(2)]
            report = {"id": "r", "status": "running", "containers": ["x"]}
            assert (await node.put("/api/status", report)).status == 200
            reply = await node.get("/info")
            assert reply.status == 200
            assert reply.body == {
                "version": f"1.4.0+edge.{__version__}",
                "containers": [
                    {
                        "id": "echo",
                        "external": True,
                        "image": "i:1",
                        "description": "repeats its input",
                    },
                    {"id": "internal", "external": False, "image": "", "description": ""},
                ],
                "pending": {"offchain": 3, "onchain": 0},
                "chain": {"enabled": False, "address": ""},
            }
            echo.release()
            for identifier in held:
                await node.finished(identifier)
            await node.put("/api/status", report | {"status": "success"})
            assert (await node.get("/info")).body["pending"] == {"offchain": 0, "onchain": 0}


async def test_info_asks_nothing_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as node:

        def forbidden(*arguments: Any) -> Any:
            raise AssertionError("the database was asked")

        with monkeypatch.context() as patch:
            patch.setattr(node.parts.database, "read", forbidden)
            patch.setattr(node.parts.database, "write", forbidden)
            assert (await node.get("/info")).status == 200
            assert (await node.get("/health")).status == 200


async def test_resources(tmp_path: Path) -> None:
    async with serving(Echo()) as url:
        document = {
            "containers": [
                {"id": "echo", "url": url, "models": ["a/b"], "task": ["text_generation"]},
                {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
            ]
        }
        async with running(tmp_path, document) as node:
            reply = await node.get("/resources")
            assert reply.status == 200
            assert list(reply.body) == ["echo"]
            assert reply.body["echo"]["service_id"] == "echo"
            (base,) = [
                capability
                for capability in reply.body["echo"]["hardware_capabilities"]
                if capability["capability_id"] == "base"
            ]
            assert base["cpu_info"]["num_cores"] > 0
            supported = await node.get("/resources?model_id=a/b")
            assert supported.body == {"echo": {"supported": True}}
            other = await node.get("/resources?model_id=x%2Fy")
            assert other.status == 200
            assert other.body["echo"]["supported"] is False
            assert (await node.get("/resources?model_id=" + "x" * 5000)).status == 200
            assert (await node.get("/resources?model_id=")).body == reply.body


async def test_requests_for_resources_share_an_answer(tmp_path: Path) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        await asyncio.sleep(0.05)
        return web.json_response({"service_id": "echo"})

    async with (
        serving(answer) as url,
        running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as node,
    ):
        asked.clear()
        replies = await asyncio.gather(*(node.get("/resources") for _ in range(5)))
        replies.append(await node.get("/resources"))
        assert asked == ["/service-resources"]
        assert [reply.body for reply in replies] == [replies[0].body] * 6
        await asyncio.gather(*(node.get("/resources?model_id=m") for _ in range(5)))
        assert asked[1:] == ["/service-resources?model_id=m"]


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    async with running(tmp_path) as running_node:
        yield running_node


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", {"GET", "HEAD"}),
        ("DELETE", "/info", {"GET", "HEAD"}),
        ("PUT", "/resources", {"GET", "HEAD"}),
        ("PUT", "/api/jobs", {"GET", "HEAD", "POST", "DELETE"}),
        ("GET", "/api/jobs/batch", {"POST"}),
        ("GET", "/api/jobs/stream", {"POST"}),
        ("GET", "/api/status", {"PUT"}),
        ("POST", "/openapi.json", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method(node: RunningNode, method: str, path: str, allow: set[str]) -> None:
    reply = await node.request(method, path)
    assert reply.status == 405
    assert {name.strip() for name in reply.headers["allow"].split(",")} == allow
    assert reply.body["error"] == "Method not allowed"
    assert set(reply.body) == {"error", "params"}


@pytest.mark.parametrize("path", ["/ui", "/nowhere", "/api/jobs/", "/health/", "/api/job/1", "//"])
async def test_a_wrong_path(node: RunningNode, path: str) -> None:
    for method in ("GET", "POST"):
        reply = await node.request(method, path)
        assert reply.status == 404
        assert reply.headers["content-type"] == "application/json"
        assert reply.body["params"] == {"path": path}


async def test_an_internal_error_is_a_500_without_its_details(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("secret details")

    monkeypatch.setattr(node.parts.database, "read", broken)
    reply = await node.get("/api/jobs")
    assert reply.status == 500
    assert set(reply.body) == {"error", "params"}
    assert "secret" not in reply.body["error"]
    assert "secret details" in caplog.text
    assert (await node.get("/health")).status == 200


async def test_a_database_that_cannot_be_read_is_a_503(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: sqlite3.Connection, *arguments: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("infernet_edge.jobs.reading.lists.stored_ids", broken)
    reply = await node.get("/api/jobs")
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) > 0


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(tmp_path: Path) -> None:
    """That would take 40 ms each time (Nagle's algorithm), where uvloop is not the event loop."""

    times: list[float] = []

    async def read() -> None:
        async with running(tmp_path) as node:
            for _ in range(100):
                began = time.perf_counter()
                assert (await node.get("/health")).status == 200
                times.append(time.perf_counter() - began)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(read())
    # The first ones of a connection are acknowledged at once; a busy machine makes some slow.
    assert sorted(times[50:])[10] < 0.035
