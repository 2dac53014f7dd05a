"""GET /api/events over HTTP, on real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infernet_edge.events.bus import EVENT_TYPES, MAX_KEPT
from infernet_edge.events.readers import MAX_BURST, MAX_READERS_PER_CLIENT, MAX_WAITING
from tests.support.breaking import read_only
from tests.support.event_stream import EventStream, ReadEvent, reading
from tests.support.haproxy import HAProxy
from tests.support.managing import eventually
from tests.support.node import NodeProcess
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving

HOLD = {"hold": True}


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        containers = [{"id": "echo", "url": url, "max_concurrency": 4}]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


@contextlib.asynccontextmanager
async def stream(
    node: RunningNode, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[EventStream]:
    """Read events of a node within the block; `hello` is read already."""
    url = f"{node.url}/api/events?{query}"
    async with reading(node.session, url, headers) as opened:
        hello = await opened.next()
        assert hello.name == "hello", hello
        yield opened


def publish(node: RunningNode, count: int, *, kind: str = "container") -> None:
    for number in range(count):
        node.parts.events.publish(f"{kind}.ready", {"id": str(number)})


def numbers(events: list[ReadEvent]) -> list[int]:
    return [int(event.last_id.partition("-")[0]) for event in events]


async def test_the_course_of_a_job(node: RunningNode) -> None:
    url = f"{node.url}/api/events"
    async with reading(node.session, url) as opened:
        hello = await opened.next()
        assert opened.response.headers["cache-control"] == "no-store"
        assert opened.response.headers["x-accel-buffering"] == "no"
        assert "content-length" not in opened.response.headers
        assert set(hello.json) == {"time", "boot", "version", "now"}
        assert opened.parser.retry == 2000
        job = await node.job()
        events = await opened.until("job.finished")
    assert [event.name for event in events] == ["job.accepted", "job.started", "job.finished"]
    assert {event.json["id"] for event in events} == {job}
    assert numbers([hello, *events]) == sorted(set(numbers([hello, *events])))
    (item,) = (await node.get("/api/history")).body["items"]
    last = events[-1].json
    assert set(last) - {"time"} <= set(item)
    for field in ("client", "kind", "status", "containers", "steps", "attempts", "cancelled"):
        assert last[field] == item[field], field
    assert abs(last["finished_at"] - item["finished_at"]) < 5000
    assert last["time"].endswith("Z")


async def test_how_jobs_end(node: RunningNode, echo: Echo) -> None:
    async with stream(node, "types=job") as opened:
        await node.job(data={"status": 500})
        failed = (await opened.until("job.failed"))[-1].json
        assert (failed["status"], failed["cancelled"]) == ("failed", False)
        assert "500" in failed["error"]
        job = await node.job(data=HOLD)
        await opened.until("job.started")
        await node.request("DELETE", f"/api/jobs/{job}")
        cancelled = (await opened.until("job.cancelled"))[-1].json
        assert (cancelled["id"], cancelled["error"]) == (job, "Cancelled by the client")
        body = {"containers": ["echo"], "data": {"chunks": ["one", "two"]}}
        assert (await node.post("/api/jobs/stream", body)).status == 200
        names = [(each.name, each.json["kind"]) for each in await opened.until("job.finished")]
        assert names == [
            ("job.accepted", "stream"),
            ("job.started", "stream"),
            ("job.finished", "stream"),
        ]
        for status in ("running", "running", "success"):
            report = {"id": "outside", "status": status, "containers": ["x"]}
            assert (await node.put("/api/status", report)).status == 200
        external = await opened.until("job.finished")
        assert [(each.name, each.json["kind"]) for each in external] == [
            ("job.started", "external"),
            ("job.finished", "external"),
        ]


async def test_types_are_chosen(node: RunningNode) -> None:
    async with stream(node, "types=container") as one, stream(node, "types=job&types=chain") as two:
        await node.job()
        publish(node, 1)
        assert (await one.next()).name == "container.ready"
        await two.until("job.finished")
        assert await two.quiet(0.2)


@pytest.mark.parametrize(
    ("query", "field", "expected"),
    [
        ("types=weather", "types", ", ".join(kind.name for kind in EVENT_TYPES)),
        ("types=", "types", "job"),
        ("types=job,,chain", "types", "job"),
        ("every=x", "every", "0.1"),
        ("every=nan", "every", "0.1"),
        ("every=-1", "every", "0.1"),
        ("every=0.01", "every", "0.1"),
        ("every=61", "every", "60"),
    ],
)
async def test_wrong_parameters(node: RunningNode, query: str, field: str, expected: str) -> None:
    reply = await node.get(f"/api/events?{query}")
    assert reply.status == 400
    assert reply.body["params"] == {"field": field}
    assert expected in reply.body["error"]


async def test_head_and_other_methods(node: RunningNode) -> None:
    reply = await node.request("HEAD", "/api/events")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "text/event-stream"
    assert (await node.post("/api/events", {})).status == 405
    assert node.parts.readers.count == 0


@pytest.mark.parametrize("by_header", [True, False])
@pytest.mark.parametrize("every", ["", "&every=0.1"])
async def test_a_reader_resumes(node: RunningNode, by_header: bool, every: str) -> None:
    async with stream(node, "types=job") as opened:
        await node.job()
        (*_, seen) = await opened.until("job.finished")
    job = await node.job()
    await node.finished(job)
    headers = {"last-event-id": seen.last_id} if by_header else {}
    query = f"types=job{every}" + ("" if by_header else f"&last_event_id={seen.last_id}")
    async with stream(node, query, headers) as opened:
        if every:
            event = await opened.next()
            (changed,) = event.json["changed"]
            assert (changed["event"], changed["id"]) == ("job.finished", job)
            assert event.last_id > seen.last_id
        else:
            events = await opened.until("job.finished")
            assert [event.json["id"] for event in events] == [job] * 3
            assert min(numbers(events)) > numbers([seen])[0]
        assert await opened.quiet(0.3)
        await node.job()
        await opened.until("jobs" if every else "job.finished")


async def test_what_cannot_be_resumed(node: RunningNode) -> None:
    async with stream(node, "types=container") as opened:
        publish(node, 1)
        seen = await opened.next()
    publish(node, MAX_KEPT)
    async with stream(node, "types=container", {"last-event-id": seen.last_id}) as opened:
        events = [await opened.next() for _ in range(MAX_KEPT)]
        assert [event.json["id"] for event in events] == [str(n) for n in range(MAX_KEPT)]
    publish(node, 1)  # now the oldest of those that were missed is no longer kept
    future = f"{numbers([seen])[0] + 10**9}-{seen.last_id.partition('-')[2]}"
    for wrong in (seen.last_id, future, "1", "x", f"{numbers([seen])[0]}-{'0' * 16}"):
        url = f"{node.url}/api/events?types=container"
        async with reading(node.session, url, {"last-event-id": wrong}) as opened:
            first, second = await opened.next(), await opened.next()
            assert (first.name, second.name) == ("resync", "hello"), wrong
            assert first.json == second.json
            assert await opened.quiet(0.1)
    # Events of other types do not make it forget those of this one.
    publish(node, 3 * MAX_KEPT, kind="storage")
    async with stream(node, "types=container", {"last-event-id": events[-1].last_id}) as opened:
        assert (await opened.next()).json["id"] == "0"


async def test_only_the_own_jobs(tmp_path: Path, echo: Echo) -> None:
    tokens = {"a": "a" * 20, "b": "b" * 20}
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    async with serving(echo) as url:
        document: dict[str, Any] = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"tokens": tokens},
        }
        async with running(tmp_path, document) as node:
            assert (await node.get("/api/events")).status == 401
            control = aiohttp.UnixConnector(str(tmp_path / "data/control.sock"))
            async with (
                aiohttp.ClientSession(connector=control) as session,
                stream(node, "types=job", headers["a"]) as own,
                stream(node, "types=job", headers["b"]) as other,
                stream(node, "types=job&every=0.1", headers["b"]) as coalesced,
                reading(session, "http://node/api/events?types=job") as operator,
            ):
                assert (await operator.next()).name == "hello"
                job = await node.job(headers=headers["a"])
                assert {each.json["id"] for each in await own.until("job.finished")} == {job}
                found = await operator.until("job.finished")
                assert {(each.json["id"], each.json["client"]) for each in found} == {
                    (job, "token:a")
                }
                assert await other.quiet(0.3)
                assert await coalesced.quiet(0.1)
                publish(node, 1, kind="container")
            # Nor when it resumes.
            first = f"{numbers(found)[0] - 1}-{node.parts.events.boot}"
            resumed = {**headers["b"], "last-event-id": first}
            async with stream(node, "types=job", resumed) as other:
                assert await other.quiet(0.2)


async def test_a_slow_reader_is_dropped_and_the_others_continue(node: RunningNode) -> None:
    with unread(node, "types=container") as blocked:
        await eventually(lambda: node.parts.readers.count == 1)
        async with stream(node, "types=container") as opened:
            got = 0
            for _ in range(200):
                publish(node, 200)
                for _ in range(200):
                    assert (await opened.next()).name == "container.ready"
                    got += 1
                if node.parts.readers.count == 1:
                    break
            assert node.parts.readers.count == 1
            publish(node, 1)
            assert (await opened.next()).json["id"] == "0"
        received = await asyncio.to_thread(everything, blocked)
        assert not received.endswith(b"0\r\n\r\n")  # it is shown to be incomplete
        assert MAX_WAITING < got < 6000  # the kernel would keep 25,000 of them by default


@contextlib.contextmanager
def unread(node: RunningNode, query: str) -> Iterator[socket.socket]:
    """A client that opens a stream and reads nothing of it, with a small window."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with client:
        client.connect(("127.0.0.1", int(node.url.rpartition(":")[2])))
        client.sendall(f"GET /api/events?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        client.settimeout(20)
        yield client


def everything(client: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    received = bytearray()
    while chunk := client.recv(2**20):
        received += chunk
    return bytes(received)


async def test_many_at_once(node: RunningNode) -> None:
    """One that cannot get all of them is disconnected, so that it notices, and begins anew."""
    async with stream(node, "types=container") as opened:
        publish(node, MAX_BURST)
        found = [(await opened.next()).json["id"] for _ in range(MAX_BURST)]
        assert found == [str(number) for number in range(MAX_BURST)]
        publish(node, MAX_BURST + 1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await opened.rest()
    async with stream(node, "types=container&every=0.1") as opened:
        publish(node, 5 * MAX_KEPT)
        first = await opened.next()
        assert len(first.json["changed"]) == 50
        assert first.json["changed"][-1]["id"] == str(5 * MAX_KEPT - 1)
        await eventually(lambda: node.parts.readers.count == 1)


async def test_coalescing_at_4000_jobs_a_second(node: RunningNode) -> None:
    """Three events a job give two small frames a second."""
    events, gone = node.parts.events, asyncio.Event()

    async def work() -> None:
        for number in itertools.count():
            for verb in ("accepted", "started", "finished"):
                events.publish(f"job.{verb}", {"id": str(number)}, client="127.0.0.1")
            if number % 40 == 0:
                await asyncio.sleep(0.01)
            if gone.is_set():
                return

    async with stream(node, "types=job&every=0.5") as opened:
        working = asyncio.create_task(work())
        began = asyncio.get_running_loop().time()
        frames = [await opened.next() for _ in range(5)]
        seconds = asyncio.get_running_loop().time() - began
        gone.set()
        await working
    assert 1.9 <= seconds < 20
    for frame in frames:
        assert frame.name == "jobs"
        assert len(frame.json["changed"]) <= 50
        assert len(frame.data) < 8192
    busy = frames[1:]
    assert all(frame.json["more"] > 500 for frame in busy), [f.json["more"] for f in busy]
    assert all(each["event"] == "job.finished" for each in busy[0].json["changed"][:-1])
    assert {"running", "waiting"} <= set(frames[0].json)


async def test_readers_are_limited(node: RunningNode) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_READERS_PER_CLIENT):
            await stack.enter_async_context(stream(node))
        reply = await node.get("/api/events")
        assert (reply.status, reply.body["params"]) == (429, {"limit": MAX_READERS_PER_CLIENT})
        assert int(reply.headers["retry-after"]) > 0
        node.parts.readers.limit = MAX_READERS_PER_CLIENT
        reply = await node.get("/api/events")
        assert (reply.status, reply.body["params"]) == (503, {"limit": MAX_READERS_PER_CLIENT})
        assert len(node.parts.readers.channels) == 1
    await eventually(lambda: node.parts.readers.count == 0)
    assert node.parts.readers.channels == {}
    assert not node.parts.events.has_readers("job")
    async with stream(node):
        pass


async def test_the_rate_limit_does_not_count_them(tmp_path: Path, echo: Echo) -> None:
    limit = {"num_requests": 2, "period": 60}
    async with running(tmp_path, {"server": {"rate_limit": limit}}) as node:
        for _ in range(5):
            async with stream(node):
                pass
        assert (await node.get("/info")).status == 200


async def test_comments_keep_it_alive(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infernet_edge.api.endpoints.events._HEARTBEAT_PERIOD", 0.1)
    async with stream(node, "types=container") as opened:
        assert await opened.quiet(0.5)
        assert 2 <= opened.parser.comments <= 5
        publish(node, 1)
        assert (await opened.next()).name == "container.ready"


async def test_a_client_that_leaves_costs_nothing(node: RunningNode) -> None:
    with unread(node, "types=container"):
        await eventually(lambda: node.parts.readers.count == 1)
    await eventually(lambda: node.parts.readers.count == 0)
    with unread(node, "types=container") as client:
        await eventually(lambda: node.parts.readers.count == 1)
        client.shutdown(socket.SHUT_WR)
        await eventually(lambda: node.parts.readers.count == 0)
    assert node.parts.memory.held["answers"] == 0


async def test_storage_and_containers(node: RunningNode) -> None:
    async with stream(node, "types=storage,container") as opened:
        service = node.parts.services["echo"]
        service.set_failed("it stopped")
        service.set_failed("it stopped")
        service.set_ready()
        failed, ready = await opened.next(), await opened.next()
        assert (failed.name, ready.name) == ("container.failed", "container.ready")
        assert failed.json | {"time": ""} == {
            "time": "",
            "id": "echo",
            "state": "failed",
            "reason": "it stopped",
            "managed": False,
        }
        with read_only(node.parts.database):
            await node.post("/api/jobs", {"containers": ["echo"], "data": {}})
            broken = await opened.next()
            assert broken.name == "storage.failed"
            assert broken.json["reason"]
        node.parts.database.report_problem("")
        assert (await opened.next()).name == "storage.recovered"
        assert await opened.quiet(0.2)


async def test_a_stop_ends_the_streams(tmp_path: Path, echo: Echo) -> None:
    async with serving(echo) as url, aiohttp.ClientSession() as session:
        config = {"containers": [{"id": "echo", "url": url}]}
        with NodeProcess(config, tmp_path) as process:
            events = f"{process.url}/api/events?types=job,storage"
            async with (
                reading(session, events) as single,
                reading(session, f"{events}&every=60") as coalesced,
            ):
                assert (await single.next()).name == (await coalesced.next()).name == "hello"
                began = asyncio.get_running_loop().time()
                stopping = asyncio.create_task(asyncio.to_thread(process.stop))
                rest = await single.rest()  # complete: an incomplete one raises
                last = await coalesced.rest()
                assert asyncio.get_running_loop().time() - began < 3
                await stopping
            assert [event.name for event in rest] == ["intake.closed"]
            assert [event.name for event in last] == ["storage"]


@pytest.mark.parametrize("killed", [True, False])
async def test_a_restart_asks_to_load_all_again(tmp_path: Path, echo: Echo, killed: bool) -> None:
    async with serving(echo) as url, aiohttp.ClientSession() as session:
        with NodeProcess({"containers": [{"id": "echo", "url": url}]}, tmp_path) as process:
            events = f"{process.url}/api/events?types=job"
            async with reading(session, events) as opened:
                hello = await opened.next()
                body = {"containers": ["echo"], "data": {}}
                async with session.post(f"{process.url}/api/jobs", json=body) as response:
                    assert response.status == 200
                last = (await opened.until("job.finished"))[-1]
                if killed:
                    process.kill()
                    with pytest.raises(aiohttp.ClientError):
                        await opened.rest()
                else:
                    process.stop()
                    assert await opened.rest() == []
            process.start()
            headers = {"last-event-id": last.last_id}
            async with reading(session, events, headers) as opened:
                resync = await opened.next()
                assert resync.name == "resync"
                assert resync.json["boot"] != hello.json["boot"]
                assert numbers([resync])[0] > numbers([last])[0]


async def test_through_a_proxy_events_come_at_once(tmp_path: Path, echo: Echo) -> None:
    async with serving(echo) as url, aiohttp.ClientSession() as session:
        with (
            NodeProcess({"containers": [{"id": "echo", "url": url}]}, tmp_path / "node") as process,
            HAProxy(process.port, tmp_path) as proxy,
        ):
            async with reading(session, f"{proxy.url}/api/events") as opened:
                assert (await opened.next(10)).name == "hello"
                body = {"containers": ["echo"], "data": {}}
                async with session.post(f"{proxy.url}/api/jobs", json=body) as response:
                    assert response.status == 200
                assert (await opened.next(10)).name == "job.accepted"
                await opened.until("job.finished", 10)
