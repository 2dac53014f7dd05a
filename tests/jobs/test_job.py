"""Jobs and their options: priority, deadline, time-out; over HTTP on a real node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.containers.answers.failures import UNREACHABLE, Refusal
from infernet_edge.errors import StorageError
from infernet_edge.jobs.job import (
    DEADLINE_PASSED,
    NO_OPTIONS,
    Job,
    RunOptions,
    options_of,
    options_text,
    refusal_of,
    refusal_text,
)
from infernet_edge.memory import Reservation
from tests.support.breaking import read_only
from tests.support.holding import HOLD, two_containers
from tests.support.managing import eventually
from tests.support.running import Reply, RunningNode, running
from tests.support.serving import Echo


@pytest.mark.parametrize(
    "options",
    [RunOptions(), RunOptions(5), RunOptions(-1, 100, 2.5), RunOptions(deadline=7)],
)
def test_options_are_stored_as_text(options: RunOptions) -> None:
    assert options_of(options_text(options)) == options


def test_most_jobs_have_none() -> None:
    assert options_text(NO_OPTIONS) is None
    assert options_of(None) is NO_OPTIONS


@pytest.mark.parametrize("text", ["", "{", "[]", '{"priority": "x"}'])
def test_damaged_options_are_dropped(text: str) -> None:
    assert options_of(text) is NO_OPTIONS


def test_what_a_later_version_adds_is_ignored() -> None:
    assert options_of('{"priority":3,"colour":"red"}') == RunOptions(3)


@pytest.mark.parametrize("refusal", [None, UNREACHABLE, Refusal(429, '{"a": "ü😀\\n"}', 2.5)])
def test_refusals_are_stored_as_text(refusal: Refusal | None) -> None:
    assert refusal_of(refusal_text(refusal)) == refusal


def test_of_a_refusal_only_objects_are_stored() -> None:
    assert refusal_text(None) is None
    assert refusal_of(refusal_text(Refusal(400, "<html>" + 4000 * "x"))) == Refusal(400)


@pytest.mark.parametrize("text", ["", "[", "{}", '["400"]', "[400,[]]"])
def test_damaged_refusals_are_dropped(text: str) -> None:
    assert refusal_of(text) is None


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def document(echo: Echo) -> AsyncIterator[dict[str, Any]]:
    async with two_containers(echo, timeout=10) as made:
        yield made


@pytest.fixture
async def node(tmp_path: Path, document: dict[str, Any], echo: Echo) -> AsyncIterator[RunningNode]:
    async with running(tmp_path, document) as running_node:
        yield running_node
        echo.release()


async def post(node: RunningNode, data: dict[str, Any], *containers: str, **options: Any) -> Reply:
    body = {"containers": list(containers or ("echo",)), "data": data, "options": options}
    return await node.post("/api/jobs", body)


async def submitted(
    node: RunningNode, data: dict[str, Any], *containers: str, **options: Any
) -> str:
    reply = await post(node, data, *containers, **options)
    assert reply.status == 200, reply
    return str(reply.body["id"])


async def test_higher_priorities_run_first(node: RunningNode, echo: Echo) -> None:
    await submitted(node, HOLD)
    await eventually(lambda: echo.open == 1)
    jobs = [
        await submitted(node, {"n": number}, priority=priority)
        for number, priority in enumerate((0, -10, 10, 0, 3))
    ]
    details = [(await node.get(f"/api/jobs/{job}?detail=true")).body["detail"] for job in jobs]
    assert [detail["position"] for detail in details] == [3, 5, 1, 4, 2]
    echo.release()
    for job in jobs:
        await node.finished(job)
    assert [call["data"].get("n") for call in echo.calls[1:]] == [2, 4, 0, 3, 1]


async def test_priorities_are_kept_over_a_restart(
    tmp_path: Path, document: dict[str, Any], echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._GRACE", 0.05)
    async with running(tmp_path, document) as node:
        first = await submitted(node, HOLD, priority=9)
        await eventually(lambda: echo.open == 1)
        jobs = [await submitted(node, {"n": n}, priority=n) for n in range(3)]
    echo.calls.clear()
    echo.release()
    async with running(tmp_path, document) as node:
        for job in (first, *jobs):
            assert (await node.finished(job))["status"] == "success"
    order = [call["data"].get("n") for call in echo.calls]
    assert order.index(2) < order.index(1)


async def test_a_job_whose_deadline_passes_while_it_waits(node: RunningNode, echo: Echo) -> None:
    held = await submitted(node, HOLD, deadline=0.1)
    await eventually(lambda: echo.open == 1)
    late = await submitted(node, {"n": 1}, deadline=0.3)
    soon = await submitted(node, {"n": 2}, deadline=60)
    found = await node.finished(late)
    assert found["status"] == "failed"
    assert found["result"] == {"container": "echo", "error": "Deadline passed"}
    detail = (await node.get(f"/api/jobs/{late}?detail=true")).body["detail"]
    assert (detail["started_at"], detail["attempts"]) == (None, 0)
    assert detail["cancelled"] is False
    echo.release()
    for job in (held, soon):  # one that has started is not ended by its deadline
        assert (await node.finished(job))["status"] == "success"
    assert len(echo.calls) == 2


async def test_a_chain_that_has_started_has_no_deadline_any_more(
    node: RunningNode, echo: Echo
) -> None:
    await submitted(node, HOLD)
    await eventually(lambda: echo.open == 1)
    chain = await submitted(node, {"n": 1}, "b", "echo", deadline=0.3)
    await asyncio.sleep(0.5)
    echo.release()
    assert (await node.finished(chain))["status"] == "success"


async def test_a_deadline_that_passes_while_the_node_is_off(
    tmp_path: Path, document: dict[str, Any], echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._GRACE", 0.05)
    async with running(tmp_path, document) as node:
        await submitted(node, HOLD)
        await eventually(lambda: echo.open == 1)
        late = await submitted(node, {"n": 1}, deadline=1)
        soon = await submitted(node, {"n": 2}, deadline=600)
    echo.release()
    await asyncio.sleep(1.1)
    async with running(tmp_path, document) as node:
        assert (await node.finished(late))["result"]["error"] == DEADLINE_PASSED
        assert (await node.finished(soon))["status"] == "success"


async def test_a_deadline_while_the_disk_cannot_be_written(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._SAVE_RETRY", 0.05)
    await submitted(node, HOLD)
    await eventually(lambda: echo.open == 1)
    late = await submitted(node, {"n": 1}, deadline=0.3)
    with read_only(node.parts.database):
        await asyncio.sleep(0.5)
        assert (await node.result(late))["status"] == "running"
    assert (await node.finished(late))["result"]["error"] == DEADLINE_PASSED


async def test_a_deadline_that_passes_in_no_queue(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the input cannot be read, a job waits for the disk."""
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._SAVE_RETRY", 0.5)
    take, failures = node.parts.store.take_data, 1

    async def unreliable(job: Job, memory: Reservation) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise StorageError("disk I/O error")
        return await take(job, memory)

    monkeypatch.setattr(node.parts.store, "take_data", unreliable)
    late = await submitted(node, {"n": 1}, deadline=0.3)
    assert (await node.finished(late))["result"]["error"] == DEADLINE_PASSED
    assert echo.calls == []


async def test_a_stream_whose_deadline_passes(node: RunningNode, echo: Echo) -> None:
    await submitted(node, HOLD)
    await eventually(lambda: echo.open == 1)
    body = {"containers": ["echo"], "data": {"chunks": ["x"]}, "options": {"deadline": 0.3}}
    async with node.session.post(node.url + "/api/jobs/stream", json=body) as response:
        identifier = (await response.content.readline()).decode().strip()
        with pytest.raises(aiohttp.ClientPayloadError):  # it has waited: its id was sent at once
            await response.content.read()
    result = await node.finished(identifier)
    assert result["result"] == {"container": "echo", "error": DEADLINE_PASSED}
    assert len(echo.calls) == 1
    echo.release()
    assert (await node.finished(await node.job()))["status"] == "success"


async def test_streams_have_priorities(node: RunningNode, echo: Echo) -> None:
    await submitted(node, HOLD)
    await eventually(lambda: echo.open == 1)
    waiting = await submitted(node, {"n": 1})
    body = {"containers": ["echo"], "data": {"chunks": ["x"]}, "options": {"priority": 1}}
    async with asyncio.TaskGroup() as group:
        stream = group.create_task(node.post("/api/jobs/stream", body))
        await eventually(lambda: len(node.parts.store.pending) == 3)
        await asyncio.sleep(0.05)
        detail = (await node.get(f"/api/jobs/{waiting}?detail=true")).body["detail"]
        assert detail["position"] == 2
        echo.release()
    assert stream.result().body.endswith(b"\nx")


async def test_a_shorter_timeout(node: RunningNode, echo: Echo) -> None:
    job = await submitted(node, HOLD, "b", timeout=0.2)
    found = await node.finished(job)
    assert found["result"]["error"] == "Container did not answer within 0.2 s"
    assert node.parts.services["b"].state == "ready"
    body = {"containers": ["b"], "data": {"chunks": ["x", "wait"]}, "options": {"timeout": 0.2}}
    reply = await node.session.post(node.url + "/api/jobs/stream", json=body)
    identifier = (await reply.content.readline()).decode().strip()
    found = await node.finished(identifier)
    assert found["result"]["error"] == "Container did not answer within 0.2 s"
    reply.close()


async def test_a_timeout_is_at_most_that_of_the_container(node: RunningNode) -> None:
    reply = await post(node, {}, "b", timeout=11)
    assert reply.status == 400
    assert reply.body["params"] == {"field": "options.timeout"}
    assert 'at most 10, the timeout of container "b"' in reply.body["error"]
    assert (await post(node, {}, "b", timeout=10)).status == 200
    assert (await post(node, {}, "b", "echo", timeout=11)).status == 200
    body = {"containers": ["b", "echo"], "data": {}, "options": {"timeout": 11}}
    assert (await node.post("/api/jobs/stream", body)).status == 400  # only the first runs


async def test_a_wrong_option_is_named(node: RunningNode) -> None:
    reply = await post(node, {}, priority=11)
    assert reply.status == 400
    assert reply.body == {
        "error": "options.priority: expected a whole number <= 10",
        "params": {"field": "options.priority"},
    }
    batch = await node.post(
        "/api/jobs/batch",
        [
            {"containers": ["echo"], "data": {}, "options": {"deadline": -1}},
            {"containers": ["echo"], "data": {}, "options": {"priority": 1}},
        ],
    )
    assert batch.body[0]["params"] == {"field": "options.deadline"}
    assert list(batch.body[1]) == ["id"]


async def test_a_short_timeout_does_not_make_a_managed_container_suspect(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client could stop the jobs of all others with it."""
    service = node.parts.services["b"]
    monkeypatch.setattr(service, "managed", True)
    assert service.state == "ready"
    await node.finished(await submitted(node, HOLD, "b", timeout=0.1))
    assert service.state == "ready"
