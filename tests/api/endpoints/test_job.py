"""GET and DELETE /api/jobs/{id}."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.managing import eventually
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

HOLD = {"hold": True}
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url, "max_concurrency": 1},
            {"id": "b", "url": f"{url}/b", "max_concurrency": 1},
        ]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


async def detail(node: RunningNode, identifier: str) -> dict[str, Any]:
    reply = await node.get(f"/api/jobs/{identifier}?detail=true")
    assert reply.status == 200, reply
    return dict(reply.body["detail"])


async def test_one_job_is_its_job_result(node: RunningNode) -> None:
    job = await node.job(["echo", "b"], {"n": 1})
    await node.finished(job)
    for query in ("", "intermediate=true"):
        one = await node.get(f"/api/jobs/{job}?{query}")
        assert one.body == (await node.get(f"/api/jobs?id={job}&{query}")).body[0]
    assert (await node.request("HEAD", f"/api/jobs/{job}")).status == 200


@pytest.mark.parametrize(
    "identifier",
    ["unknown", "01a21c33-5afd-4001-9947-22daa4efcccb", "%00", "x" * 1000, "%E2"],
)
async def test_an_unknown_job(node: RunningNode, identifier: str) -> None:
    for query in ("", "?detail=true&wait=5"):
        reply = await node.get(f"/api/jobs/{identifier}{query}")
        assert reply.status == 404
        assert reply.body["error"].startswith("No such job")


async def test_other_endpoints_keep_their_names(node: RunningNode) -> None:
    for name in ("batch", "stream"):
        reply = await node.get(f"/api/jobs/{name}")
        assert reply.status == 405
        assert reply.headers["allow"] == "POST"


async def test_the_details_of_a_job_that_has_ended(node: RunningNode) -> None:
    job = await node.job(["echo", "b"])
    await node.finished(job)
    found = await detail(node, job)
    times = [found.pop(name) for name in ("created_at", "started_at", "finished_at")]
    assert all(TIME.fullmatch(text) for text in times)
    assert times == sorted(times)
    assert found == {"attempts": 1, "position": None, "container": None, "cancelled": False}


async def test_where_unfinished_jobs_are(node: RunningNode, echo: Echo) -> None:
    running_job = await node.job(data=HOLD)
    await eventually(lambda: echo.open == 1)
    waiting = [await node.job(), await node.job()]
    found = await detail(node, running_job)
    assert TIME.fullmatch(found["started_at"])
    assert (found["finished_at"], found["position"]) == (None, None)
    assert (found["container"], found["attempts"]) == ("echo", 1)
    for number, job in enumerate(waiting, 1):
        found = await detail(node, job)
        assert (found["container"], found["position"]) == ("echo", number)
        assert (found["started_at"], found["attempts"]) == (None, 0)


async def test_a_chain_is_in_its_second_container(node: RunningNode, echo: Echo) -> None:
    held = await node.job(["b"], HOLD)
    await eventually(lambda: echo.open == 1)
    chain = await node.job(["echo", "b"])
    await eventually(lambda: len(echo.calls) == 2)
    await eventually(lambda: progress_of(node, chain) == ("b", 1))
    found = await detail(node, chain)
    assert (found["container"], found["position"], found["attempts"]) == ("b", 1, 1)
    assert (await detail(node, held))["position"] is None


def progress_of(node: RunningNode, identifier: str) -> tuple[str, int | None] | None:
    job = node.parts.store.unfinished_job(identifier)
    assert job is not None
    return node.parts.orchestrator.progress_of([job.key]).get(job.key)


async def test_the_details_of_a_stream(node: RunningNode) -> None:
    body = {"containers": ["echo"], "data": {"chunks": ["one"]}}
    reply = await node.post("/api/jobs/stream", body)
    found = await detail(node, reply.body.partition(b"\n")[0].decode())
    assert found["attempts"] == 1
    assert TIME.fullmatch(found["started_at"])


async def test_the_details_of_an_external_job(node: RunningNode) -> None:
    report = {"id": "theirs", "status": "running", "containers": ["x"]}
    await node.put("/api/status", report)
    found = await detail(node, "theirs")
    assert TIME.fullmatch(found["created_at"])
    assert found["finished_at"] is None
    await node.put("/api/status", report | {"status": "success"})
    assert TIME.fullmatch((await detail(node, "theirs"))["finished_at"])


async def test_details_are_kept_over_a_restart(tmp_path: Path, echo: Echo) -> None:
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            done = await node.job()
            await node.finished(done)
            before = await detail(node, done)
        async with running(tmp_path, document) as node:
            assert await detail(node, done) == before
