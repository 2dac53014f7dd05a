"""The events of the overview, read over HTTP; nothing runs while they are not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.api.overview import publishing
from infernet_edge.api.overview.forms import Attention
from infernet_edge.api.overview.publishing import OverviewEvents
from infernet_edge.events.bus import Events
from infernet_edge.statistics.last_hour import LastHour
from tests.support.event_stream import EventStream, reading
from tests.support.managing import eventually
from tests.support.ports import free_port
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

TASKS = {"events attention", "events minute", "events machine"}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with (
        serving(Echo()) as url,
        running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as running_node,
    ):
        yield running_node


def tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()} & TASKS


async def attention(stream: EventStream, name: str = "attention.changed") -> list[dict[str, Any]]:
    events = await stream.until(name)
    return list(events[-1].json["items"])


def refuse(node: RunningNode, reason: str) -> None:
    """As housekeeping does."""
    node.parts.store.refusal = reason
    event = {"id": "space", "reason": reason}
    node.parts.events.publish("storage.full" if reason else "storage.available", event)


async def test_what_needs_attention_comes_as_it_happens(node: RunningNode) -> None:
    async with reading(node.session, f"{node.url}/api/events?types=attention") as stream:
        assert await attention(stream) == []
        node.parts.services["echo"].set_failed("no answer; its last output: /etc/secret")
        (item,) = await attention(stream)
        assert item["id"] == "container.not_reached:echo"
        assert "secret" not in item["text"]
        since = item["since"]
        refuse(node, "The disk is nearly full")
        first, second = await attention(stream)
        assert (first["id"], second["id"], second["since"]) == ("storage.full", item["id"], since)
        refuse(node, "")
        node.parts.services["echo"].set_ready()
        assert await attention(stream) == []
        assert await stream.quiet(1.5)  # nothing changes


async def test_it_says_when_no_more_jobs_are_taken(node: RunningNode) -> None:
    async with reading(node.session, f"{node.url}/api/events?types=attention") as stream:
        first = (await stream.until("attention.changed"))[-1].json
        assert first["intake"] == {"open": True, "reason": ""}
        node.parts.store.close_intake("The node stops")
        then = (await stream.until("attention.changed"))[-1].json
        assert then["intake"] == {"open": False, "reason": "The node stops"}


async def test_operators_get_everything(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes later gets the list too, after a while."""
    monkeypatch.setattr(publishing, "_PACE", 0.05)
    monkeypatch.setattr(publishing, "_PERIOD", 0.5)
    path = str(node.parts.config.storage_path / "control.sock")
    node.parts.services["echo"].set_failed("no answer; its last output: /etc/secret")
    url = "http://node/api/events?types=attention&every=0.2"
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        reading(session, url) as stream,
        reading(node.session, f"{node.url}/api/events?types=attention&every=0.2") as other,
    ):
        (item,) = await attention(stream, "attention")
        assert "/etc/secret" in item["text"]
        (item,) = await attention(other, "attention")
        assert "secret" not in item["text"]


async def test_what_is_used_of_the_machine(node: RunningNode) -> None:
    async with reading(node.session, f"{node.url}/api/events?types=machine") as stream:
        event = (await stream.until("machine.measured"))[-1].json
        usage = (await node.get("/api/overview")).body["machine"]
        assert set(event) == {"time", "containers", *usage}
        assert event["containers"] == []  # the node runs none itself
        assert event["memory_size"] == usage["memory_size"]


async def test_each_minute_when_it_has_ended(node: RunningNode) -> None:
    job = await node.job()
    await node.finished(job)
    hour = node.parts.store.recent.hour
    async with reading(node.session, f"{node.url}/api/events?types=minute") as stream:
        await stream.until("hello")
        await eventually(lambda: tasks() == {"events minute"})
        clock = hour._clock  # noqa: SLF001 - the minute must not last a minute
        # The task waits for the real end; a second one, with a clock just before it, does not.
        ahead = 60 - clock() % 60 - 0.2
        hour._clock = lambda: clock() + ahead  # noqa: SLF001
        events = OverviewEvents(node.node._api.overview, hour, node.parts.events)  # type: ignore[union-attr]  # noqa: SLF001
        node.parts.events.on_interest["minute"](True)
        minute = (await stream.until("minute.ended"))[-1].json
        assert (minute["done"], minute["failed"]) == (1, 0)
        assert minute["p50_ms"] is not None
        assert minute["end"] % 1 == 0
        await events.close()


async def test_nothing_runs_while_there_is_no_reader(node: RunningNode) -> None:
    assert tasks() == set()
    url = f"{node.url}/api/events?types=attention,minute,machine"
    async with reading(node.session, url) as stream:
        await stream.until("hello")
        await eventually(lambda: tasks() == TASKS)
        async with reading(node.session, url) as second:
            await second.until("hello")
        await asyncio.sleep(0.1)
        assert tasks() == TASKS
    await eventually(lambda: not tasks())


async def test_a_failure_is_logged_and_retried(
    node: RunningNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_RETRY", 0.05)
    bus, source = Events(), node.node._api  # noqa: SLF001
    assert source is not None
    broken = OverviewEvents(source.overview, LastHour(lambda: 1 / 0), bus)
    try:
        bus.add_reader("minute")
        await eventually(lambda: caplog.text.count("overview.publish_failed") > 1)
    finally:
        await broken.close()
    assert "events minute" not in tasks()


async def test_the_stop_of_the_node_ends_them(tmp_path: Path) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    async with running(tmp_path, {"containers": [{"id": "echo", "url": down}]}) as node:
        node.parts.events.add_reader("attention")
        await eventually(lambda: tasks() == {"events attention"})
    assert tasks() == set()


async def test_what_has_no_event_is_checked_regularly(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_PACE", 0.05)
    monkeypatch.setattr(publishing, "_PERIOD", 0.2)
    async with reading(node.session, f"{node.url}/api/events?types=attention") as stream:
        assert await attention(stream) == []
        node.parts.store.refusal = "The disk is nearly full"
        (item,) = await attention(stream)
        assert item["id"] == "storage.full"


async def test_too_many_jobs_are_noticed_soon(tmp_path: Path) -> None:
    """There is no event of it: so the intake is checked often while jobs are pending."""
    echo = Echo()
    async with serving(echo) as url:
        config = {"containers": [{"id": "echo", "url": url}], "jobs": {"max_pending": 1}}
        async with (
            running(tmp_path, config) as node,
            reading(node.session, f"{node.url}/api/events?types=attention") as stream,
        ):
            assert (await stream.until("attention.changed"))[-1].json["intake"]["open"]
            job = await node.job(data={"hold": True})
            node.parts.events.publish("container.ready", {"id": "echo"})  # the next look is soon
            then = (await stream.until("attention.changed"))[-1].json["intake"]
            assert then == {"open": False, "reason": "Too many pending jobs (jobs.max_pending)"}
            echo.release()
            await node.finished(job)
            assert (await stream.until("attention.changed"))[-1].json["intake"]["open"]


async def test_a_node_without_jobs_is_hardly_checked(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open page must not keep an idle machine awake."""
    monkeypatch.setattr(publishing, "_PERIOD", 0.3)
    monkeypatch.setattr(publishing, "_PACE", 0.1)
    overview = node.node._api.overview  # type: ignore[union-attr]  # noqa: SLF001
    looks: list[object] = []
    note = overview.note

    def noted() -> list[Attention]:
        looks.append(None)
        return note()

    monkeypatch.setattr(overview, "note", noted)
    url = f"{node.url}/api/events?types=attention,machine"
    async with reading(node.session, url) as stream, reading(node.session, url) as other:
        await stream.until("machine.measured")
        await other.until("attention.changed")
        assert await stream.quiet(1.2)  # the next measurement is after 1.8 s
        assert 2 <= len(looks) <= 5  # for both readers together
        await node.finished(await node.job())
        await stream.until("machine.measured")
