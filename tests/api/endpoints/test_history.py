"""GET /api/history, and the links of lists."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.managing import eventually
from tests.support.running import Reply, RunningNode, running
from tests.support.serving import Echo, serving

HOLD = {"hold": True}


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url, "max_concurrency": 1},
            {"id": "b", "url": f"{url}/b"},
        ]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


async def ids(node: RunningNode, query: str = "") -> list[str]:
    reply = await node.get(f"/api/history?{query}")
    assert reply.status == 200, reply
    return [item["id"] for item in reply.body["items"]]


def following(reply: Reply) -> str | None:
    link = reply.headers.get("link")
    if link is None:
        return None
    found = re.fullmatch(r'<(/api/[^>]+)>; rel="next"', link)
    assert found
    return found[1]


async def test_jobs_of_every_state(node: RunningNode, echo: Echo) -> None:
    done = await node.job(["b"])
    failed = await node.job(["b"], {"status": 500})
    for job in (done, failed):
        await node.finished(job)
    runs = await node.job(data=HOLD)
    await eventually(lambda: echo.open == 1)
    first, second = await node.job(["echo", "b"], {"n": 1}), await node.job()
    await node.request("DELETE", f"/api/jobs/{second}")
    third = await node.job()
    everything = [third, second, first, runs, failed, done]
    assert await ids(node) == everything
    for query, expected in {
        "state=running": [third, first, runs],
        "state=waiting": [third, first],
        "state=waiting&limit=1": [third],
        "state=waiting&container=b": [first],
        "state=computing": [runs],
        "state=success": [done],
        "state=failed": [second, failed],
        "state=cancelled": [second],
        "container=b": [first, failed, done],
        "container=b&state=failed": [failed],
        "container=none": [],
        f"find={first}": [first],
        f"find={first[:4]}": everything,
        "find=nothing": [],
        "client=127.0.0.1": everything,
        "client=10.0.0.1": [],
        f"before={runs}": [failed, done],
    }.items():
        assert await ids(node, query) == expected, query
    by_id = {item["id"]: item for item in (await node.get("/api/history")).body["items"]}
    assert (by_id[runs]["container"], by_id[runs]["position"]) == ("echo", None)
    assert by_id[runs]["started_at"] >= by_id[runs]["created_at"]
    assert [by_id[job]["position"] for job in (first, third)] == [1, 2]
    assert by_id[first]["input_bytes"] == len('{"n":1}')
    assert by_id[done]["input_bytes"] is None
    assert by_id[failed]["error"]
    assert by_id[second]["error"] == "Cancelled by the client"


async def test_pages(node: RunningNode) -> None:
    jobs = [await node.job() for _ in range(5)]
    for job in jobs:
        await node.finished(job)
    path: str | None = "/api/history?limit=2&state=success"
    found = []
    while path is not None:
        reply = await node.get(path)
        found.append([item["id"] for item in reply.body["items"]])
        path = following(reply)
        assert (path is None) is (reply.body["next"] is None) is (reply.body["searched_to"] is None)
    assert found == [[jobs[4], jobs[3]], [jobs[2], jobs[1]], [jobs[0]]]


async def test_the_list_of_ids_has_links(node: RunningNode) -> None:
    jobs = [await node.job() for _ in range(5)]
    for job in jobs:
        await node.finished(job)
    path: str | None = "/api/jobs?limit=2&pending=false"
    found: list[str] = []
    while path is not None:
        reply = await node.get(path)
        found[:0] = reply.body
        path = following(reply)
    assert found == jobs
    assert following(await node.get("/api/jobs")) is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "state"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("before=yesterday", "before"),
    ],
)
async def test_wrong_parameters(node: RunningNode, query: str, field: str) -> None:
    reply = await node.get(f"/api/history?{query}")
    assert reply.status == 400
    assert reply.body["params"] == {"field": field}


async def test_only_the_own_jobs(tmp_path: Path, echo: Echo) -> None:
    tokens = {"a": "a" * 20, "b": "b" * 20}
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    async with serving(echo) as url:
        document: dict[str, Any] = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"tokens": tokens},
        }
        async with running(tmp_path, document) as node:
            job = await node.job(headers=headers["a"])
            assert [
                item["id"] for item in (await node.get("/api/history", headers["a"])).body["items"]
            ] == [job]
            for query in ("", "client=token:a", f"find={job}"):
                reply = await node.get(f"/api/history?{query}", headers["b"])
                assert reply.body == {"items": [], "next": None, "searched_to": None}
            assert (await node.get("/api/history")).status == 401
