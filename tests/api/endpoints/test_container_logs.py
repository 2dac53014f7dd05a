"""GET /api/containers/{id}/logs, with real Podman."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.containers.operating import log_stream, logs
from infernet_edge.containers.operating.lines import Frame
from tests.support.managing import eventually
from tests.support.operating import item, managed, operator
from tests.support.podman import IsolatedPodman
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving
from tests.support.tokens import make_token, operate

PATH = "/api/containers/echo/logs"


@pytest.fixture
async def node(podman: IsolatedPodman, tmp_path: Path) -> AsyncIterator[RunningNode]:
    container = {"id": "echo", "image": podman.echo_image()}
    async with running(tmp_path, managed(podman, container)) as running_node:
        await eventually(lambda: running_node.node.services["echo"].state == "ready")
        yield running_node


class Reading:
    """The lines that a client gets as they arrive."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.ended = False

    @property
    def texts(self) -> list[str]:
        """What was said; not the tracebacks that the service writes when a probe closes early."""
        return texts(self.lines)


def texts(lines: list[dict[str, Any]]) -> list[str]:
    said = [line["l"] for line in lines if "l" in line]
    return [text.removeprefix("~") for text in said if text.startswith(("~", "told to exit"))]


@asynccontextmanager
async def following(client: RunningNode, query: str = "") -> AsyncIterator[Reading]:
    reading = Reading()
    async with client.session.get(f"{client.url}{PATH}?follow=true{query}") as response:
        assert response.status == 200
        assert response.content_type == "application/x-ndjson"

        async def read() -> None:
            async for line in response.content:
                if line.strip():
                    reading.lines.append(json.loads(line))
            reading.ended = True

        task = asyncio.create_task(read())
        try:
            yield reading
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def say(node: RunningNode, text: str, **more: Any) -> None:
    await node.finished(await node.job(data={"print": f"~{text}", **more}))


async def last(client: RunningNode, query: str = "") -> list[dict[str, Any]]:
    reply = await client.get(f"{PATH}?{query}")
    assert reply.status == 200, reply
    return [json.loads(line) for line in reply.body.splitlines() if line]


async def test_the_last_lines(node: RunningNode) -> None:
    async with operator(node) as client:
        assert texts(await last(client)) == []
        for number in range(5):
            await say(node, f"line {number}")
        found = await last(client)
        assert texts(found) == [f"line {number}" for number in range(5)]
        assert {line["s"] for line in found} == {"err"}
        now = (await item(node))["since"]
        assert all(0 <= line["t"] - now + 2000 < 60_000 for line in found)
        assert texts(await last(client, "tail=2")) == ["line 3", "line 4"]
        assert await last(client, "tail=0") == []


async def test_lines_are_followed_over_a_restart(node: RunningNode, podman: IsolatedPodman) -> None:
    await say(node, "before")
    async with operator(node) as client, following(client) as reading:
        await eventually(lambda: reading.texts == ["before"])
        await say(node, "now")
        await eventually(lambda: reading.texts == ["before", "now"])
        await client.post("/api/containers/echo/restart", None)
        await eventually(lambda: node.node.services["echo"].state == "ready")
        await say(node, "restarted")
        await eventually(lambda: reading.texts[2:] == ["restarted"])
        # A crash, whose last line is still there; then a new container.
        await node.finished(await node.job(data={"exit": 3}))
        await eventually(lambda: reading.texts[3:] == ["told to exit"])
        await eventually(lambda: node.node.services["echo"].state == "ready")
        await say(node, "again")
        await eventually(lambda: reading.texts[4:] == ["again"])
        # Podman's API ends, and comes back.
        podman.kill_service()
        podman.start_service()
        await say(node, "reconnected")
        await eventually(lambda: "reconnected" in reading.texts)
        assert reading.texts[5:] == ["reconnected"]
        assert not reading.ended


async def test_the_lines_of_a_container_that_has_ended(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    container = {"id": "echo", "image": podman.echo_image(), "command": "--crash 3"}
    document = managed(podman, container) | {"startup_wait": 0}
    async with running(tmp_path, document) as node, operator(node) as client:
        async with asyncio.timeout(60):
            while (found := await item(client))["next_start_at"] is None or found["restarts"] < 2:
                await asyncio.sleep(0.02)
        lines = await last(client)
        assert lines
        assert lines[0]["l"] in found["reason"]
        async with following(client) as reading:
            await eventually(lambda: reading.lines)
            assert reading.lines[0]["l"] == lines[0]["l"]


async def test_a_follower_serves_all_readers_and_ends_with_the_last(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, open_now = 0, 0

    async def frames_of(*arguments: Any, **options: Any) -> AsyncGenerator[list[Frame], None]:
        nonlocal opened, open_now
        opened, open_now = opened + 1, open_now + 1
        try:
            async with aclosing(log_stream.frames_of(*arguments, **options)) as parts:
                async for frames in parts:
                    yield frames
        finally:
            open_now -= 1

    monkeypatch.setattr(logs, "frames_of", frames_of)
    await say(node, "one")
    await say(node, "two")
    async with operator(node) as client:
        async with following(client) as first:
            await eventually(lambda: first.texts == ["one", "two"])
            async with following(client, "&tail=1") as second, following(client) as third:
                await eventually(lambda: (second.texts, third.texts) == (["two"], ["one", "two"]))
                await say(node, "three")
                readings = (first, second, third)
                await eventually(lambda: {each.texts[-1] for each in readings} == {"three"})
                assert (opened, open_now) == (1, 1)
            await say(node, "four")
            await eventually(lambda: first.texts[-1] == "four")
            assert (opened, open_now) == (1, 1)
        await eventually(lambda: open_now == 0)
        await asyncio.sleep(0.6)
        assert opened == 1


async def test_a_flood_of_lines_is_limited_and_counted(node: RunningNode) -> None:
    async with operator(node) as client, following(client) as reading:
        await say(node, "first")
        await eventually(lambda: reading.texts == ["first"])
        await asyncio.sleep(1.1)
        flood = "\n~".join(f"line {number}" for number in range(10_000))
        await say(node, flood)
        await say(node, "end")

        def count() -> int:
            dropped = sum(line.get("dropped", 0) for line in reading.lines)
            return int(dropped) + len(reading.lines)

        await eventually(lambda: count() >= 10_002)
        assert 200 <= len(reading.texts) <= 1 + 200 * 4
        assert reading.texts[:3] == ["first", "line 0", "line 1"]


async def test_strange_lines_are_text(node: RunningNode) -> None:
    async with operator(node) as client, following(client) as reading:
        await say(node, "<img onerror=alert(1)> \x1b[31m ‮ \x00")
        await say(node, "y" * 100_000)
        await eventually(lambda: len(reading.texts) == 2)
        assert reading.texts[0] == "<img onerror=alert(1)> \x1b[31m ‮ \x00"
        assert len(reading.texts[1]) <= 4096
        assert reading.texts[1].endswith("(cut off, 100001 bytes)")


async def test_the_stop_of_the_node_ends_readers(node: RunningNode) -> None:
    async with operator(node) as client, following(client) as reading:
        await say(node, "one")
        await eventually(lambda: reading.texts == ["one"])
        stopping = asyncio.create_task(node.node.stop())
        await eventually(lambda: reading.ended, timeout=5)
        await stopping


async def test_there_are_not_too_many_readers(node: RunningNode) -> None:
    async with operator(node) as client:
        path = f"{client.url}{PATH}?follow=true"
        readers = [await client.session.get(path) for _ in range(logs.MAX_READERS)]
        reply = await client.get(f"{PATH}?follow=true")
        assert (reply.status, reply.body["error"]) == (503, "Too many readers of logs")
        for reader in readers:
            reader.close()
        async with asyncio.timeout(10):
            while (await client.get(PATH)).status == 503:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("value", ["-1", "2001", "x", "1e3", "9" * 30])
async def test_a_wrong_tail(node: RunningNode, value: str) -> None:
    async with operator(node) as client:
        reply = await client.get(f"{PATH}?tail={value}")
        assert (reply.status, reply.body["params"]) == (400, {"field": "tail"})


async def test_who_may_read_which_logs(tmp_path: Path) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node, operator(node) as client:
            assert (await node.get(PATH)).status == 403
            assert (await node.request("HEAD", PATH)).status == 403
            assert (await client.get(PATH)).status == 409
            assert (await client.get("/api/containers/none/logs")).status == 404


async def test_it_ends_when_the_token_is_revoked(node: RunningNode) -> None:
    header = await make_token(node, "watcher", "operator")
    other = await make_token(node, "other", "submit")
    async with node.session.get(f"{node.url}{PATH}?follow=true", headers=header) as response:
        assert response.status == 200
        reply = await operate(node, "DELETE", "/api/tokens/watcher")
        assert reply.status == 200, reply
        await node.finished(await node.job(data={"print": "~secret"}, headers=other), other)
        async with asyncio.timeout(10):
            text = await response.content.read()
    assert b"secret" not in text
    assert (await node.get(PATH, header)).status == 401
