"""Idempotency-Key: a repeated request is executed once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.api.endpoints.idempotency import request_checksum
from infernet_edge.errors import StorageError
from infernet_edge.jobs.idempotency import RememberedAnswers
from tests.support.breaking import read_only
from tests.support.client import Api
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

KEY = {"idempotency-key": "order-1"}
JOB = {"containers": ["echo"], "data": {"n": 1}}
OTHER = {"containers": ["echo"], "data": {"n": 2}}
DELEGATED: dict[str, Any] = {"subscription": {}, "signature": {}, "data": {}}


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as running_node:
            yield running_node
            echo.release()


async def count(node: RunningNode) -> int:
    return len((await node.get("/api/jobs")).body)


async def test_a_repeated_request_gets_the_first_answer(node: RunningNode, echo: Echo) -> None:
    first = await node.post("/api/jobs", JOB, KEY)
    assert first.status == 200
    await node.finished(first.body["id"])
    for _ in range(3):
        again = await node.post("/api/jobs", JOB, KEY)
        assert (again.status, again.body) == (200, first.body)
    assert len(echo.calls) == 1
    assert (await node.post("/api/jobs", JOB, {"idempotency-key": "order-2"})).body != first.body
    assert (await node.post("/api/jobs", JOB)).body != first.body
    assert await count(node) == 3


async def test_at_the_same_time(node: RunningNode) -> None:
    replies = await asyncio.gather(*(node.post("/api/jobs", JOB, KEY) for _ in range(30)))
    assert {reply.body["id"] for reply in replies} == {replies[0].body["id"]}
    assert await count(node) == 1


async def test_another_request_with_the_key(node: RunningNode) -> None:
    await node.post("/api/jobs", JOB, KEY)
    for path, body in (("/api/jobs", OTHER), ("/api/jobs/batch", [JOB])):
        reply = await node.post(path, body, KEY)
        assert reply.status == 422
        assert reply.body["params"] == {"key": "order-1"}
    same_bytes = b'{"containers": ["echo"], "data": {"n": 1}}'  # other ones than the first
    assert (await node.post("/api/jobs", same_bytes, KEY)).status == 422
    assert await count(node) == 1


async def test_a_batch(node: RunningNode, echo: Echo) -> None:
    body = [JOB, {"containers": ["ghost"], "data": {}}, DELEGATED, OTHER]
    first = await node.post("/api/jobs/batch", body, KEY)
    assert first.body[2]["error"] == "Chain not enabled"
    again = await node.post("/api/jobs/batch", body, KEY)
    assert again.body == first.body
    assert await count(node) == 2
    long = [JOB] * 2000
    first = await node.post("/api/jobs/batch", long, {"idempotency-key": "long"})
    again = await node.post("/api/jobs/batch", long, {"idempotency-key": "long"})
    assert again.body == first.body
    assert await count(node) == 2002


async def test_keys_belong_to_their_client(tmp_path: Path, echo: Echo) -> None:
    tokens = {"a": "a" * 20, "b": "b" * 20}
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}], "server": {"tokens": tokens}}
        async with running(tmp_path, document) as node:
            replies = [
                await node.post("/api/jobs", JOB, KEY | {"authorization": f"Bearer {tokens[name]}"})
                for name in ("a", "b", "a")
            ]
    assert replies[0].body == replies[2].body != replies[1].body


async def test_an_error_is_not_remembered(node: RunningNode) -> None:
    assert (await node.post("/api/jobs", {"containers": ["ghost"], "data": {}}, KEY)).status == 405
    assert (await node.post("/api/jobs", b"{", KEY)).status == 400
    with read_only(node.parts.database):
        assert (await node.post("/api/jobs", JOB, KEY)).status == 503
    assert (await node.post("/api/jobs", JOB, KEY)).status == 200
    assert await count(node) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "caf\xe9", "\t"])
async def test_a_key_that_is_not_valid(node: RunningNode, key: str) -> None:
    reply = await node.post("/api/jobs", JOB, {"idempotency-key": key})
    assert reply.status == 400
    assert reply.body["params"] == {"field": "idempotency-key"}
    assert await count(node) == 0


async def test_two_keys(node: RunningNode) -> None:
    async with node.session.post(
        node.url + "/api/jobs",
        json=JOB,
        headers=[("idempotency-key", "a"), ("idempotency-key", "b")],
    ) as reply:
        assert reply.status == 400


async def test_the_longest_key(node: RunningNode) -> None:
    key = {"idempotency-key": "~" * 255}
    first = await node.post("/api/jobs", JOB, key)
    assert (await node.post("/api/jobs", JOB, key)).body == first.body


async def test_streams_have_no_keys(node: RunningNode, echo: Echo) -> None:
    reply = await node.post("/api/jobs/stream", JOB, KEY)
    assert reply.status == 400
    assert reply.body["params"] == {"field": "idempotency-key"}
    assert echo.calls == []


async def test_a_repeated_request_may_wait(node: RunningNode, echo: Echo) -> None:
    body = {"containers": ["echo"], "data": {"hold": True}}
    first = await node.post("/api/jobs", body, KEY)
    echo.release()
    again = await node.post("/api/jobs?wait=30", body, KEY)
    assert (again.body["id"], again.body["status"]) == (first.body["id"], "success")
    assert (await node.post("/api/jobs?wait=30", body, KEY)).body == again.body
    assert (await node.post("/api/jobs", body, KEY)).body == first.body
    assert await count(node) == 1


async def test_delegated_subscriptions_of_a_batch_whose_answer_was_not_stored(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the two: the jobs are not run again, the others are accepted."""
    accepted: list[str] = []
    save = RememberedAnswers.save

    async def accept(request: bytes, client: str, deadline: Any = None) -> None:
        accepted.append(client)

    async def broken(*_: Any) -> None:
        raise StorageError("disk I/O error")

    monkeypatch.setattr(node.parts.delegations, "accept", accept)
    monkeypatch.setattr(RememberedAnswers, "save", broken)
    body = [JOB, DELEGATED, {"containers": ["ghost"], "data": {}}]
    assert (await node.post("/api/jobs/batch", body, KEY)).status == 503
    (identifier,) = (await node.get("/api/jobs")).body
    monkeypatch.setattr(RememberedAnswers, "save", save)
    for _ in range(2):
        again = await node.post("/api/jobs/batch", body, KEY)
        assert again.body[:2] == [{"id": identifier}, {}]
        assert again.body[2]["error"] == "Container not supported"
    assert len(accepted) == 2  # the last answer is the stored one
    assert await count(node) == 1


async def test_one_delegated_subscription(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[str] = []

    async def accept(request: bytes, client: str, deadline: Any = None) -> None:
        accepted.append(client)

    monkeypatch.setattr(node.parts.delegations, "accept", accept)
    for query in ("", "?wait=5", ""):
        reply = await node.post(f"/api/jobs{query}", DELEGATED, KEY)
        assert (reply.status, reply.body) == (200, {})
    assert len(accepted) == 1


def test_it_is_remembered_when_the_node_is_killed(tmp_path: Path) -> None:
    with EchoService(tmp_path) as echo:
        config = {"containers": [{"id": "echo", "url": f"{echo.url}/slow"}]}
        with NodeProcess(config, tmp_path / "node") as node:
            api = Api(node.port)
            body = {"containers": ["echo"], "data": {"sleep": 0.5}}
            first = api.request("POST", "/api/jobs", body, KEY)
            many = api.request("POST", "/api/jobs/batch", [body, body], {"idempotency-key": "b"})
            assert (first.status, many.status) == (200, 200)
            node.kill()
            node.restart()
            assert api.request("POST", "/api/jobs", body, KEY).json == first.json
            again = api.request("POST", "/api/jobs/batch", [body, body], {"idempotency-key": "b"})
            assert again.json == many.json
            assert api.request("POST", "/api/jobs", JOB, KEY).status == 422
            identifiers = [each["id"] for each in (first.json, *many.json)]
            assert api.get("/api/jobs").json == identifiers
            assert {each["status"] for each in api.finished(identifiers)} == {"success"}


async def test_the_checksum_of_long_bodies_is_the_same() -> None:
    long = b"x" * 300_000
    assert await request_checksum("/a", long) == await request_checksum("/a", bytearray(long))
    assert await request_checksum("/a", long) != await request_checksum("/b", long)
    assert await request_checksum("/a", b"b") != await request_checksum("/", b"ab")
