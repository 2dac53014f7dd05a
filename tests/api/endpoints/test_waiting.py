"""Requests that wait for jobs: wait=N, Prefer: wait=N."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.api.endpoints.waiting import Wait, requested_wait
from infernet_edge.errors import BadRequest, StorageError
from tests.support.breaking import read_only
from tests.support.client import head
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
        containers = [{"id": "echo", "url": url}, {"id": "b", "url": f"{url}/b"}]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


async def release_soon(node: RunningNode, echo: Echo, waits: int = 1) -> None:
    """Release the jobs once requests wait for them."""
    await eventually(lambda: node.parts.store.waiters.registered == waits)
    echo.release()


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("wait=5", 5),
        ("respond-async, WAIT = 7", 7),
        ('wait="3"', 3),
        ("wait=9; foo=bar", 9),
        ("wait=100", 60),
        ("wait=0", 0),
        ("wait=4, wait=8", 4),
    ],
)
def test_the_wait_that_is_preferred(field: str, seconds: int) -> None:
    scope = {"headers": [(b"accept", b"*/*"), (b"prefer", field.encode())]}
    assert requested_wait(scope, {}) == Wait(seconds, f"wait={seconds}")


@pytest.mark.parametrize(
    "field",
    [
        "",
        "respond-async",
        "wait",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "await=5",
        'x="a, wait=5"',
        'wait="5',
    ],
)
def test_what_is_no_wait_is_ignored(field: str) -> None:
    assert requested_wait({"headers": [(b"prefer", field.encode())]}, {}) == Wait()


@pytest.mark.parametrize("end", ["", '"', "\\"])
def test_a_text_in_quotes_without_an_end_takes_no_time(end: str) -> None:
    """A search from each of its quotes would stop the node for 16 seconds for each request."""
    field = ('"\\' * 30_000 + end).encode()
    before = time.process_time()
    assert requested_wait({"headers": [(b"prefer", field)]}, {}) == Wait()
    assert time.process_time() - before < 1


def test_the_query_has_precedence() -> None:
    assert requested_wait({"headers": [(b"prefer", b"wait=5")]}, {"wait": ["2"]}) == Wait(2)


@pytest.mark.parametrize("text", ["61", "-1", "1.5", "", "x", "1e1", "٣"])
def test_a_wrong_wait_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="whole seconds from 0 to 60") as refused:
        requested_wait({"headers": []}, {"wait": [text]})
    assert refused.value.params == {"field": "wait"}


async def test_it_answers_when_all_jobs_have_ended(node: RunningNode, echo: Echo) -> None:
    jobs = [await node.job(data=HOLD), await node.job(), await node.job(["echo", "b"], HOLD)]
    query = "&".join(f"id={job}" for job in jobs)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(node.get(f"/api/jobs?{query}&wait=30"))
        group.create_task(release_soon(node, echo))
    reply = waiting.result()
    assert reply.status == 200
    assert [result["id"] for result in reply.body] == jobs
    assert [result["status"] for result in reply.body] == ["success"] * 3
    assert "preference-applied" not in reply.headers
    assert node.parts.store.waiters.count == 0


async def test_after_the_time_it_answers_with_the_state(node: RunningNode) -> None:
    job = await node.job(data=HOLD)
    began = time.monotonic()
    reply = await node.get(f"/api/jobs?id={job}&wait=1")
    assert 0.9 < time.monotonic() - began < 30
    assert reply.body == [{"id": job, "status": "running", "result": None}]


async def test_a_preference_is_applied_and_named(node: RunningNode, echo: Echo) -> None:
    job = await node.job(data=HOLD)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(node.get(f"/api/jobs?id={job}", {"prefer": "wait=600"}))
        group.create_task(release_soon(node, echo))
    reply = waiting.result()
    assert reply.body[0]["status"] == "success"
    assert reply.headers["preference-applied"] == "wait=60"
    long = await node.get(f"/api/jobs/{job}", {"prefer": "wait=1"})
    assert long.headers["preference-applied"] == "wait=1"
    assert "preference-applied" not in (await node.get(f"/api/jobs?id={job}")).headers


async def test_nothing_unfinished_is_not_waited_for(node: RunningNode) -> None:
    job = await node.job()
    await node.finished(job)
    for query in (f"id={job}", "id=unknown", "id="):
        async with asyncio.timeout(5):
            assert (await node.get(f"/api/jobs?{query}&wait=30")).status == 200


async def test_jobs_of_other_clients_are_not_waited_for(tmp_path: Path, echo: Echo) -> None:
    tokens = {"a": "a" * 20, "b": "b" * 20}
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}], "server": {"tokens": tokens}}
        async with running(tmp_path, document) as node:
            job = await node.job(data=HOLD, headers=headers["a"])
            async with asyncio.timeout(5):
                reply = await node.get(f"/api/jobs?id={job}&wait=30", headers["b"])
                assert reply.body == []
                reply = await node.get(f"/api/jobs/{job}?wait=30", headers["b"])
                assert reply.status == 404
            echo.release()


async def test_an_external_job_is_waited_for(node: RunningNode) -> None:
    report = {"id": "theirs", "status": "running", "containers": []}
    await node.put("/api/status", report)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(node.get("/api/jobs?id=theirs&wait=30"))
        await eventually(lambda: node.parts.store.waiters.registered == 1)
        await node.put("/api/status", report)  # still running
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await node.put("/api/status", report | {"status": "failed"})
    assert waiting.result().body == [{"id": "theirs", "status": "failed", "result": None}]


async def test_submit_and_wait(node: RunningNode) -> None:
    body = {"containers": ["echo", "b"], "data": {"n": 1}}
    reply = await node.post("/api/jobs?wait=30", body)
    assert reply.status == 200
    output = {"output": {"output": {"n": 1}, "by": ""}, "by": "/b"}
    assert reply.body["result"] == {"container": "b", "output": output}
    assert reply.body == (await node.get(f"/api/jobs?id={reply.body['id']}")).body[0]


async def test_submit_and_wait_in_vain(node: RunningNode) -> None:
    body = {"containers": ["echo"], "data": HOLD}
    reply = await node.post("/api/jobs", body, {"prefer": "wait=1"})
    assert reply.status == 200
    assert list(reply.body) == ["id"]
    assert reply.headers["preference-applied"] == "wait=1"
    assert (await node.result(reply.body["id"]))["status"] == "running"


async def test_a_long_result_is_sent_at_once(node: RunningNode) -> None:
    text = "x" * 200_000
    reply = await node.post("/api/jobs?wait=30", {"containers": ["echo"], "data": {"text": text}})
    assert reply.body["result"]["output"]["output"] == {"text": text}


async def test_the_number_of_waiters_is_bounded(node: RunningNode, echo: Echo) -> None:
    assert node.parts.store.waiters.limit == 512
    node.parts.store.waiters.limit = 2
    job = await node.job(data=HOLD)
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(node.get(f"/api/jobs/{job}?wait=30")) for _ in range(2)]
        await eventually(lambda: node.parts.store.waiters.registered == 1)
        await eventually(lambda: node.parts.store.waiters.count == 2)
        before = len((await node.get("/api/jobs")).body)
        for refused in (
            await node.get(f"/api/jobs?id={job}&wait=30"),
            await node.post("/api/jobs?wait=1", {"containers": ["echo"], "data": {}}),
        ):
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.body["params"] == {"limit": 2}
        assert len((await node.get("/api/jobs")).body) == before  # refused before it is stored
        assert (await node.get(f"/api/jobs?id={job}")).status == 200
        echo.release()
    assert [wait.result().body["status"] for wait in waits] == ["success"] * 2


async def test_a_client_that_leaves_waits_no_more(node: RunningNode) -> None:
    job = await node.job(data=HOLD)
    port = int(node.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("GET", f"/api/jobs?id={job}&wait=60"))
    await eventually(lambda: node.parts.store.waiters.count == 1)
    writer.close()
    await eventually(lambda: node.parts.store.waiters.count == 0)
    assert (await node.result(job))["status"] == "running"


async def test_many_wait_while_jobs_run(node: RunningNode) -> None:
    async def one(number: int) -> Reply:
        body = {"containers": ["echo"], "data": {"n": number}}
        return await node.post("/api/jobs?wait=30", body)

    replies = await asyncio.gather(*(one(number) for number in range(200)))
    outputs = [reply.body["result"]["output"]["output"]["n"] for reply in replies]
    assert outputs == list(range(200))
    assert node.parts.store.waiters.count == 0


async def test_a_stop_answers_those_that_wait(tmp_path: Path, echo: Echo) -> None:
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            ends = await node.job(data=HOLD)
            stays = await node.job(["echo"], HOLD | {"n": 2})
            async with asyncio.TaskGroup() as group:
                waits = [
                    group.create_task(node.get(f"/api/jobs?id={job}&wait=60"))
                    for job in (ends, stays)
                ]
                posted = group.create_task(
                    node.post("/api/jobs?wait=60", {"containers": ["echo"], "data": HOLD})
                )
                await eventually(lambda: node.parts.store.waiters.count == 3)
                began = time.monotonic()
                await node.node.stop()
                assert time.monotonic() - began < 20
            for wait, job in zip(waits, (ends, stays), strict=True):
                assert wait.result().body == [{"id": job, "status": "running", "result": None}]
            assert posted.result().status == 200
            assert list(posted.result().body) == ["id"]
            echo.release()


async def test_waiting_does_not_count_against_the_rate_limit(tmp_path: Path, echo: Echo) -> None:
    async with serving(echo) as url:
        document: dict[str, Any] = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"rate_limit": {"num_requests": 3, "period": 60}},
        }
        async with running(tmp_path, document) as node:
            job = await node.job(data=HOLD)
            done = await node.job()
            await node.finished(done)
            for path in (f"/api/jobs?id={job}&id={done}&wait=1", f"/api/jobs/{job}?wait=1"):
                replies = await asyncio.gather(*(node.get(path) for _ in range(20)))
                assert [reply.status for reply in replies] == [200] * 20
                await asyncio.sleep(1)  # until ten further polls are admitted
            counted = [(await node.get(f"/api/jobs/{done}?wait=1")).status for _ in range(4)]
            assert counted == [200, 200, 200, 429]
            echo.release()


async def test_a_result_that_cannot_be_read_does_not_hide_that_the_job_was_accepted(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise StorageError("disk I/O error")

    monkeypatch.setattr(node.parts.store, "results", broken)
    reply = await node.post("/api/jobs?wait=30", {"containers": ["echo"], "data": {}})
    assert reply.status == 200
    assert list(reply.body) == ["id"]


async def test_while_the_disk_cannot_be_written_a_job_has_not_ended(
    node: RunningNode, echo: Echo
) -> None:
    job = await node.job(data=HOLD)
    await eventually(lambda: echo.open == 1)
    with read_only(node.parts.database):
        echo.release()
        reply = await node.get(f"/api/jobs?id={job}&wait=1")
        assert reply.body[0]["status"] == "running"
    reply = await node.get(f"/api/jobs?id={job}&wait=30")
    assert reply.body[0]["status"] == "success"


async def test_pipelined_requests_wait_in_turn(node: RunningNode) -> None:
    job = await node.job(data=HOLD)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for _ in range(2):
            async with session.get(f"{node.url}/api/jobs/{job}?wait=1") as response:
                assert (await response.json())["status"] == "running"
