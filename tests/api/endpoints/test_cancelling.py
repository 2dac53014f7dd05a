"""DELETE /api/jobs: every state in which a job may be cancelled, and the races with its end."""

from __future__ import annotations

import asyncio
import functools
import io
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from infernet_edge.api.endpoints import cancelling
from infernet_edge.errors import StorageError
from infernet_edge.jobs import table
from infernet_edge.jobs.contents import PIECE
from infernet_edge.jobs.job import Job
from infernet_edge.memory import Reservation
from tests.support.breaking import read_only
from tests.support.holding import HOLD, two_containers
from tests.support.managing import eventually
from tests.support.running import Reply, RunningNode, running
from tests.support.serving import Echo

ERROR = "Cancelled by the client"


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def document(echo: Echo) -> AsyncIterator[dict[str, Any]]:
    async with two_containers(echo, max_concurrency=1) as made:
        yield made


@pytest.fixture
async def node(tmp_path: Path, document: dict[str, Any], echo: Echo) -> AsyncIterator[RunningNode]:
    async with running(tmp_path, document) as running_node:
        yield running_node
        echo.release()
        await eventually(lambda: is_idle(running_node))


def is_idle(node: RunningNode) -> bool:
    """Whether nothing is left of any job: no memory, no waiter, no slot."""
    return not node.parts.memory.total and not node.parts.store.waiters.count


async def cancel(node: RunningNode, *identifiers: str, query: str = "") -> list[dict[str, Any]]:
    ids = "&".join(f"id={each}" for each in identifiers)
    reply = await node.request("DELETE", f"/api/jobs?{ids}&{query}")
    assert reply.status == 200, reply
    return list(reply.body)


async def held(node: RunningNode, echo: Echo, containers: Sequence[str] = ("echo",)) -> str:
    """A job whose container does not answer."""
    calls = len(echo.calls)
    job = await node.job(containers, HOLD)
    await eventually(lambda: len(echo.calls) > calls)
    return job


def cancelled(identifier: str, container: str = "echo") -> dict[str, Any]:
    return {
        "id": identifier,
        "status": "failed",
        "result": {"container": container, "error": ERROR},
    }


async def test_a_job_that_waits_ends_at_once(node: RunningNode, echo: Echo) -> None:
    first = await held(node, echo)
    job, next_one = await node.job(data={"n": 1}), await node.job(data={"n": 2})
    assert await cancel(node, job) == [cancelled(job)]
    assert (await node.get(f"/api/jobs/{next_one}?detail=true")).body["detail"]["position"] == 1
    assert (await node.get(f"/api/jobs/{job}?detail=true")).body["detail"]["cancelled"] is True
    echo.release()
    for each in (first, next_one):
        assert (await node.finished(each))["status"] == "success"
    assert [call["data"].get("n") for call in echo.calls] == [None, 2]


async def test_the_call_of_a_running_one_is_closed(node: RunningNode, echo: Echo) -> None:
    job = await held(node, echo)
    next_one = await node.job(data={"n": 2})
    assert await cancel(node, job) == [cancelled(job)]
    await eventually(lambda: echo.left == 1)
    assert (await node.finished(next_one))["status"] == "success"  # it has the slot
    assert (await node.get(f"/api/jobs/{job}?detail=true")).body["detail"]["attempts"] == 1


async def test_in_the_middle_of_a_chain_the_outputs_before_are_kept(
    node: RunningNode, echo: Echo
) -> None:
    blocker = await held(node, echo, ["b"])
    waits = await node.job(["echo", "b", "echo"], {"n": 1})
    await eventually(lambda: len(echo.calls) == 2)
    await eventually(lambda: position(node, waits) == ("b", 1))
    (found,) = await cancel(node, waits, query="intermediate=true")
    between = found.pop("intermediate_results")
    assert found == cancelled(waits, "b")
    assert between == [{"container": "echo", "output": {"output": {"n": 1}, "by": ""}}]
    (other,) = await cancel(node, blocker)
    assert other == cancelled(blocker, "b")


def key_of(node: RunningNode, identifier: str) -> bytes:
    job = node.parts.store.unfinished_job(identifier)
    assert job is not None
    return job.key


def position(node: RunningNode, identifier: str) -> tuple[str, int | None] | None:
    job = node.parts.store.unfinished_job(identifier)
    if job is None:
        return None
    return node.parts.orchestrator.progress_of([job.key]).get(job.key)


async def test_long_outputs_of_a_chain_are_kept(node: RunningNode, echo: Echo) -> None:
    text = "x" * 3 * PIECE
    await held(node, echo, ["b"])
    chain = await node.job(["echo", "b"], {"text": text})
    await eventually(lambda: position(node, chain) == ("b", 1))
    (found,) = await cancel(node, chain, query="intermediate=1")
    assert found["result"]["error"] == ERROR
    assert found["intermediate_results"][0]["output"]["output"] == {"text": text}


async def test_a_job_between_two_containers(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its output is stored it is in no queue and in no call; the next container is busy."""
    await held(node, echo, ["b"])
    keep, entered, go_on = node.parts.store.keep_outputs, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> None:
        entered.set()
        await go_on.wait()
        await keep(*arguments)

    monkeypatch.setattr(node.parts.store, "keep_outputs", slow)
    job = await node.job(["echo", "b"], {"text": "x" * 2 * PIECE})
    await entered.wait()
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(cancel(node, job))
        await asyncio.sleep(0.05)
        go_on.set()
    assert answer.result() == [cancelled(job, "b")]
    assert len(echo.calls) == 2


async def test_a_job_that_waits_for_the_disk(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not in the hands of the worker any more, which calls the container for another job."""
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._SAVE_RETRY", 0.3)
    take = node.parts.store.take_data

    async def unreliable(job: Job, memory: Reservation) -> Any:
        if job.key == first:
            raise StorageError("disk I/O error")
        return await take(job, memory)

    await node.job(data=HOLD)
    await eventually(lambda: echo.open == 1)
    identifier = await node.job()
    other = await node.job(data=HOLD | {"n": 2})
    first = key_of(node, identifier)
    monkeypatch.setattr(node.parts.store, "take_data", unreliable)
    (blocker,) = set((await node.get("/api/jobs?pending=true")).body) - {identifier, other}
    await cancel(node, blocker)
    await eventually(lambda: len(echo.calls) == 2)
    assert await cancel(node, identifier) == [cancelled(identifier)]
    echo.release()
    assert (await node.finished(other))["status"] == "success"
    assert len(echo.calls) == 2


async def test_cancelling_is_idempotent(node: RunningNode, echo: Echo) -> None:
    job = await held(node, echo)
    answers = await asyncio.gather(*(cancel(node, job, job) for _ in range(20)))
    assert answers == [[cancelled(job), cancelled(job)]] * 20
    assert await cancel(node, job) == [cancelled(job)]
    reply = await node.request("DELETE", f"/api/jobs/{job}")
    assert (reply.status, reply.body) == (200, [cancelled(job)])
    assert (await node.finished(await node.job()))["status"] == "success"


async def test_jobs_that_have_ended_do_not_change(node: RunningNode) -> None:
    jobs = [await node.job(), await node.job(data={"status": 500})]
    before = [await node.finished(job) for job in jobs]
    assert await cancel(node, *jobs, query="intermediate=true") == before


async def test_an_external_job_does_not_change(node: RunningNode) -> None:
    await node.put("/api/status", {"id": "theirs", "status": "running", "containers": []})
    async with asyncio.timeout(5):
        assert (await cancel(node, "theirs"))[0]["status"] == "running"
        reply = await node.request("DELETE", "/api/jobs/theirs")
    assert reply.body[0]["status"] == "running"


async def test_what_is_not_there(node: RunningNode) -> None:
    assert await cancel(node, "unknown", "") == []
    reply = await node.request("DELETE", "/api/jobs/unknown")
    assert reply.status == 404
    for path in ("/api/jobs", "/api/jobs?pending=true"):
        reply = await node.request("DELETE", path)
        assert reply.status == 400
        assert reply.body["params"] == {"field": "id"}
    reply = await node.request("DELETE", "/api/jobs?" + "&".join(["id=x"] * 1001))
    assert reply.status == 400


async def test_only_its_client_cancels_a_job(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    tokens = {"a": "a" * 20, "b": "b" * 20}
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    async with running(tmp_path, document | {"server": {"tokens": tokens}}) as node:
        job = await node.job(data=HOLD, headers=headers["a"])
        reply = await node.request("DELETE", f"/api/jobs?id={job}", headers=headers["b"])
        assert (reply.status, reply.body) == (200, [])
        reply = await node.request("DELETE", f"/api/jobs/{job}", headers=headers["b"])
        assert reply.status == 404
        assert (await node.request("DELETE", f"/api/jobs/{job}")).status == 401
        assert (await node.result(job, headers["a"]))["status"] == "running"
        echo.release()
        assert (await node.finished(job, headers["a"]))["status"] == "success"


async def test_many_at_once(node: RunningNode, echo: Echo) -> None:
    jobs = [await held(node, echo)] + [await node.job() for _ in range(300)]
    assert [each["result"]["error"] for each in await cancel(node, *jobs)] == [ERROR] * 301
    assert not node.parts.store.pending
    assert (await node.finished(await node.job()))["status"] == "success"
    assert len(echo.calls) == 2


async def test_those_that_wait_for_it_are_answered(node: RunningNode, echo: Echo) -> None:
    job = await held(node, echo)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(node.get(f"/api/jobs/{job}?wait=60"))
        await eventually(lambda: node.parts.store.waiters.registered == 1)
        await cancel(node, job)
    assert waiting.result().body == cancelled(job)


async def test_it_works_when_too_many_wait(node: RunningNode, echo: Echo) -> None:
    node.parts.store.waiters.limit = 0
    job = await held(node, echo)
    assert await cancel(node, job) == [cancelled(job)]


async def test_a_job_that_is_not_yet_on_the_disk(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No client knows its id; one that did could cancel it."""
    go_on = threading.Event()
    insert = table.insert

    def slow(connection: sqlite3.Connection, *arguments: Any) -> None:
        go_on.wait(10)
        insert(connection, *arguments)

    monkeypatch.setattr(table, "insert", slow)
    async with asyncio.TaskGroup() as group:
        submitting = group.create_task(node.job())
        await eventually(lambda: len(node.parts.store.pending) == 1)
        assert (await node.get("/api/jobs?pending=true")).body == []
        (identifier,) = [job.id for job in node.parts.store.pending.values()]
        cancelling_it = group.create_task(cancel(node, identifier))
        await asyncio.sleep(0.05)
        go_on.set()
    assert submitting.result() == identifier
    assert cancelling_it.result() == [cancelled(identifier)]
    assert echo.calls == []


async def test_a_job_whose_result_is_being_written_ends_with_it(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, writing = threading.Event(), threading.Event()
    finish = table.finish

    def slow(connection: sqlite3.Connection, *arguments: Any) -> None:
        writing.set()
        go_on.wait(10)
        finish(connection, *arguments)

    monkeypatch.setattr(table, "finish", slow)
    job = await node.job(data={"n": 1})
    await eventually(writing.is_set)
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(cancel(node, job))
        await asyncio.sleep(0.05)
        assert not answer.done()
        go_on.set()
    assert answer.result()[0]["status"] == "success"
    detail = (await node.get(f"/api/jobs/{job}?detail=true")).body["detail"]
    assert detail["cancelled"] is False


async def test_while_the_disk_cannot_be_written(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "_SAVING_TIME", 0.2)
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._SAVE_RETRY", 0.05)
    job = await held(node, echo)
    with read_only(node.parts.database):
        assert (await cancel(node, job))[0]["status"] == "running"
        assert (await cancel(node, job))[0]["status"] == "running"
    monkeypatch.setattr(cancelling, "_SAVING_TIME", 30.0)
    assert await cancel(node, job) == [cancelled(job)]


async def test_races_of_cancelling_and_ending(node: RunningNode, echo: Echo) -> None:
    """A job ends in one way, whatever moment the cancellation comes at, and no slot is lost."""
    echo.release()
    for number in range(60):
        chain = ["echo", "b"][: 1 + number % 2]
        job = await node.job(chain, {"n": number})
        await asyncio.sleep(number % 12 / 2000)
        (found,) = await cancel(node, job)
        assert found["status"] in ("success", "failed")
        assert found["status"] == "success" or found["result"]["error"] == ERROR
        detail = (await node.get(f"/api/jobs/{job}?detail=true")).body
        assert detail.pop("detail")["cancelled"] is (found["status"] == "failed")
        assert detail == found
    for container in ("echo", "b"):
        assert (await node.finished(await node.job([container])))["status"] == "success"


async def test_cancelled_jobs_stay_cancelled_after_a_restart(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    async with running(tmp_path, document) as node:
        job = await held(node, echo)
        waits = await node.job()
        await cancel(node, job, waits)
    async with running(tmp_path, document) as node:
        assert await cancel(node, job, waits) == [cancelled(job), cancelled(waits)]
        assert len(echo.calls) == 1


async def test_a_stop_during_a_cancellation(
    tmp_path: Path, document: dict[str, Any], echo: Echo
) -> None:
    async with running(tmp_path, document) as node:
        jobs = [await held(node, echo)] + [await node.job() for _ in range(20)]
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(cancel(node, *jobs))
            await asyncio.sleep(0.002)
            await node.node.stop()
        assert len(answer.result()) == 21
    async with running(tmp_path, document) as node:
        again = [(await node.get(f"/api/jobs/{job}")).body for job in jobs]
        acknowledged = [each for each in answer.result() if each["status"] == "failed"]
        assert [each for each in again if each["id"] in {one["id"] for one in acknowledged}] == (
            acknowledged
        )
        echo.release()


async def stream(node: RunningNode, chunks: Sequence[str]) -> tuple[aiohttp.ClientResponse, str]:
    body = {"containers": ["echo"], "data": {"chunks": list(chunks)}}
    response = await node.session.post(
        node.url + "/api/jobs/stream",
        data=io.BytesIO(msgspec.json.encode(body)),  # aiohttp warns of long bytes
        headers={"content-type": "application/json"},
    )
    assert response.status == 200
    return response, (await response.content.readline()).decode().strip()


async def test_a_stream_is_cancelled(node: RunningNode, echo: Echo) -> None:
    response, identifier = await stream(node, ["first", "wait", "second"])
    assert await response.content.readexactly(5) == b"first"
    (found,) = await cancel(node, identifier, query="intermediate=true")
    between = found.pop("intermediate_results")
    assert found == cancelled(identifier)
    assert between == [{"container": "echo", "output": {"output": "first"}}]
    with pytest.raises(aiohttp.ClientPayloadError):  # its reader sees that something is missing
        await response.read()
    await eventually(lambda: echo.left == 1)
    detail = (await node.get(f"/api/jobs/{identifier}?detail=true")).body["detail"]
    assert detail["cancelled"] is True
    assert (await node.finished(await node.job()))["status"] == "success"


async def test_a_stream_that_waits_for_its_slot(node: RunningNode, echo: Echo) -> None:
    await held(node, echo)
    response, identifier = await stream(node, ["first"])
    assert position(node, identifier) == ("echo", 1)
    assert await cancel(node, identifier) == [cancelled(identifier)]
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()
    assert len(echo.calls) == 1


async def test_a_stream_whose_reader_does_not_read(node: RunningNode) -> None:
    response, identifier = await stream(node, ["x" * 400_000] * 40 + ["wait"])
    await asyncio.sleep(0.3)
    began = time.monotonic()
    assert (await cancel(node, identifier))[0]["result"]["error"] == ERROR
    assert time.monotonic() - began < 30
    response.close()
    assert (await node.finished(await node.job()))["status"] == "success"


async def test_a_stream_that_has_ended_does_not_change(node: RunningNode) -> None:
    response, identifier = await stream(node, ["all"])
    assert await response.read() == b"all"
    assert (await cancel(node, identifier))[0]["status"] == "success"


async def test_races_of_cancelling_and_streams(node: RunningNode) -> None:
    async def one(number: int) -> Reply:
        response, identifier = await stream(node, ["a", "b"])
        await asyncio.sleep(number % 7 / 1000)
        (found,) = await cancel(node, identifier)
        assert found["status"] == "success" or found["result"]["error"] == ERROR
        response.close()
        return await node.get(f"/api/jobs/{identifier}?detail=true")

    for number in range(30):
        reply = await one(number)
        assert reply.body["detail"]["cancelled"] is (reply.body["status"] == "failed")


async def test_a_page_of_the_node_cancels_without_a_body(node: RunningNode, echo: Echo) -> None:
    job = await held(node, echo)
    headers = {"origin": node.url, "sec-fetch-site": "same-origin"}
    reply = await node.request("DELETE", f"/api/jobs/{job}", headers=headers)
    assert (reply.status, reply.body) == (200, [cancelled(job)])
    reply = await node.request(
        "DELETE", f"/api/jobs/{job}", headers={"origin": "http://evil.example"}
    )
    assert reply.status == 403


async def test_cancellations_leave_no_memory_behind(node: RunningNode, echo: Echo) -> None:
    """Jobs that are cancelled again and again while a container is stuck."""
    await held(node, echo)
    queue = functools.partial(position, node)
    for _ in range(200):
        job = await node.job(data={"text": "x" * 1000})
        assert queue(job) == ("echo", 1)
        await cancel(node, job)
    assert node.parts.memory.held["inputs"] == 0
