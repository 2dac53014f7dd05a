"""POST /api/jobs/stream."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, web

from infernet_edge.api import streams
from infernet_edge.api.endpoints import events
from tests.support.managing import eventually
from tests.support.ports import free_port
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, read_request, serving, talking

REQUEST = {"containers": ["echo"], "data": {"chunks": ["one", "two"]}}


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def node(tmp_path: Path, echo: Echo) -> AsyncIterator[RunningNode]:
    async with serving(echo) as url:
        containers = [
            {"id": "echo", "url": url, "max_concurrency": 2},
            {"id": "down", "url": f"http://127.0.0.1:{free_port()}"},
        ]
        async with running(tmp_path, {"containers": containers}) as running_node:
            yield running_node
            echo.release()


async def test_the_id_then_the_bytes_of_the_container(node: RunningNode, echo: Echo) -> None:
    body = {"containers": ["echo"], "data": {"chunks": ["one", "two\n"]}, "requires_proof": False}
    reply = await node.post("/api/jobs/stream", body)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain"
    identifier, _, content = reply.body.partition(b"\n")
    assert uuid.UUID(identifier.decode()).version == 4
    assert content == b"onetwo\n"
    assert echo.calls[0] | {"data": {}} == {
        "source": 1,
        "destination": 2,
        "data": {},
        "requires_proof": False,
    }
    found = await node.finished(identifier.decode())
    assert found["status"] == "success"
    assert found["result"] == {"container": "echo", "output": {"output": "onetwo\n"}}
    assert found["intermediate_results"] == []


async def test_the_id_is_a_chunk_of_its_own_and_comes_first(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the container takes its time: the official client waits for its first chunk."""
    monkeypatch.setattr(streams, "_OPENING_TIME", 0.05)
    body = {"containers": ["echo"], "data": {"hold": True, "chunks": ["one"]}}
    async with node.session.post(node.url + "/api/jobs/stream", json=body) as response:
        chunk, complete = await response.content.readchunk()
        assert complete
        assert len(chunk) == 37
        assert chunk.endswith(b"\n")
        identifier = chunk.decode().strip()
        assert (await node.result(identifier))["status"] == "running"
        assert response.headers["content-type"] == "application/octet-stream"
        echo.release()
        assert await response.content.readchunk() == (b"one", True)
        assert await response.content.read() == b""
    assert (await node.finished(identifier))["status"] == "success"


async def exchange(node: RunningNode, head: str, body: bytes = b"") -> bytes:
    """Send a request of HTTP/1.0, and read until the connection is closed."""
    port = node.url.rpartition(":")[2]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    fields = f"host: 127.0.0.1:{port}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(f"{head} HTTP/1.0\r\nconnection: keep-alive\r\n{fields}".encode() + body)
    try:
        async with asyncio.timeout(10):
            received = b""
            while b": end" not in received and (part := await reader.read(2**16)):
                received += part
            return received
    finally:
        writer.close()


async def test_a_client_of_http_1_0_gets_no_chunks(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take their lengths for a part of the answer; the end of the connection ends it."""
    monkeypatch.setattr(events, "HEARTBEAT", b": end\n\n")
    monkeypatch.setattr(events, "_HEARTBEAT_PERIOD", 0.5)
    answers = [
        await exchange(node, "POST /api/jobs/stream", json.dumps(REQUEST).encode()),
        await exchange(node, "GET /api/events?types=job"),
        await exchange(node, "HEAD /api/events?types=job"),
        await exchange(node, "GET /health"),
        await exchange(node, "GET /none"),
    ]
    for answer in answers:
        head, _, _ = answer.partition(b"\r\n\r\n")
        assert b"connection: close" in head
        assert b"transfer-encoding" not in head
    stream, shown, head_only, health, none = [each.partition(b"\r\n\r\n")[2] for each in answers]
    identifier, _, rest = stream.partition(b"\n")
    assert (len(identifier), rest) == (36, b"onetwo")
    assert shown.startswith(b"retry: 2000\nid: ")
    assert shown.endswith(b": end\n\n")
    assert (head_only, health) == (b"", b'{"status":"healthy"}')
    assert json.loads(none)["error"]


async def test_a_client_of_http_1_0_sees_that_a_stream_failed(
    node: RunningNode, echo: Echo
) -> None:
    """The end of its connection alone would be the end of a complete stream."""
    for _ in range(2):
        await node.job(data={"hold": True})
    await eventually(lambda: echo.open == 2)
    body = json.dumps({"containers": ["echo"], "data": {"status": 500}}).encode()
    asking = asyncio.create_task(exchange(node, "POST /api/jobs/stream", body))
    await eventually(lambda: node.parts.orchestrator.load("echo").waiting == 1)
    await asyncio.sleep(0.1)  # its id is sent
    echo.release()
    with pytest.raises(ConnectionResetError):
        await asking


@pytest.mark.parametrize(
    ("agent", "is_official"),
    [("Python/3.11 aiohttp/3.9.5", True), ("curl/7.88.1", False), ("", False)],
)
async def test_only_the_official_client_gets_the_id_long_before_the_rest(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch, agent: str, is_official: bool
) -> None:
    monkeypatch.setattr(streams, "_ID_ALONE", 1.0)
    begin = time.monotonic()
    async with node.session.post(
        node.url + "/api/jobs/stream", json=REQUEST, headers={"user-agent": agent}
    ) as response:
        reads = [chunk async for chunk in response.content.iter_any()]
    assert b"".join(reads)[37:] == b"onetwo"
    assert (time.monotonic() - begin >= 1.0) == is_official
    if is_official:
        assert len(reads[0]) == 37


async def test_a_stream_that_waits_for_a_slot_gets_its_id_at_once(
    node: RunningNode, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_OPENING_TIME", 40.0)
    for _ in range(2):
        await node.job(data={"hold": True})
    await eventually(lambda: echo.open == 2)
    bodies = [
        {"containers": ["echo"], "data": {"chunks": ["one"]}},
        {"containers": ["echo"], "data": {"status": 500}},
    ]
    async with asyncio.timeout(20):  # less than a failure of the container is waited for
        works, fails = [
            await node.session.post(node.url + "/api/jobs/stream", json=body) for body in bodies
        ]
        identifiers = [(await each.content.readline()).decode().strip() for each in (works, fails)]
    assert (works.status, fails.status) == (200, 200)
    echo.release()
    assert await works.content.read() == b"one"
    with pytest.raises(ClientPayloadError):  # as any stream that breaks off: no last chunk
        await fails.content.read()
    fails.close()
    works.close()
    found = [await node.finished(identifier) for identifier in identifiers]
    assert [each["status"] for each in found] == ["success", "failed"]


async def test_chunks_are_passed_on_as_they_come(node: RunningNode, echo: Echo) -> None:
    body = {"containers": ["echo"], "data": {"chunks": ["one", "wait", "two"]}}
    async with node.session.post(node.url + "/api/jobs/stream", json=body) as response:
        assert len((await response.content.readchunk())[0]) == 37
        assert (await response.content.readchunk())[0] == b"one"
        echo.release()
        assert (await response.content.readchunk())[0] == b"two"


async def test_only_the_first_container_runs(node: RunningNode, echo: Echo) -> None:
    reply = await node.post("/api/jobs/stream", REQUEST | {"containers": ["echo", "down"]})
    assert reply.status == 200
    found = await node.finished(reply.body[:36].decode())
    assert found["status"] == "success"
    assert found["result"]["container"] == "echo"
    assert len(echo.calls) == 1


async def test_a_container_that_is_down(node: RunningNode) -> None:
    reply = await node.post("/api/jobs/stream", REQUEST | {"containers": ["down"]})
    assert reply.status == 502
    assert reply.headers["content-type"] == "application/json"
    assert "connect" in reply.body["error"].lower()
    found = await node.finished(reply.body["params"]["id"])
    assert found["status"] == "failed"
    assert found["result"] == {"container": "down", "error": reply.body["error"]}


async def test_a_container_that_answers_an_error_at_once(node: RunningNode) -> None:
    body = {"containers": ["echo"], "data": {"status": 500}}
    reply = await node.post("/api/jobs/stream", body)
    assert reply.status == 502
    found = await node.finished(reply.body["params"]["id"])
    assert found["result"] == {"container": "echo", "error": reply.body["error"]}
    assert '"status"' in reply.body["error"]  # the container's error


async def test_bytes_are_passed_on_unchanged(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000

    async def binary(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type="image/png")

    async with (
        serving(binary) as url,
        running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as node,
    ):
        reply = await node.post("/api/jobs/stream", REQUEST)
        assert reply.headers["content-type"] == "image/png"
        assert reply.body[37:] == content
        found = await node.finished(reply.body[:36].decode())
        stored = found["result"]["output"]
        assert base64.b64decode(stored["output_base64"]) == content
        assert list(stored) == ["output_base64"]


async def test_a_container_that_sends_no_content_type(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc")
        await writer.drain()

    async with (
        talking(talk) as url,
        running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as node,
    ):
        reply = await node.post("/api/jobs/stream", REQUEST)
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.body[37:] == b"abc"


@pytest.mark.parametrize("kind", [b"text/\xff\xfe", b"text/\xe4", b"text/\x7f", b"text/\xc2\x85"])
async def test_a_content_type_that_no_header_can_hold(tmp_path: Path, kind: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-length: 3\r\n\r\nabc"
        )
        await writer.drain()

    async with (
        talking(talk) as url,
        running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as node,
    ):
        reply = await node.post("/api/jobs/stream", REQUEST)
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.body[36:] == b"\nabc"
        assert (await node.finished(reply.body[:36].decode()))["status"] == "success"


async def test_an_empty_stream(node: RunningNode) -> None:
    reply = await node.post("/api/jobs/stream", REQUEST | {"data": {"chunks": []}})
    assert reply.status == 200
    assert len(reply.body) == 37
    found = await node.finished(reply.body[:36].decode())
    assert found["result"]["output"] == {"output": ""}


async def test_a_container_that_dies_in_the_middle(tmp_path: Path) -> None:
    """The client sees that something is missing, and what had arrived is kept."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()

    async with (
        talking(talk) as url,
        running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as node,
    ):
        async with node.session.post(node.url + "/api/jobs/stream", json=REQUEST) as response:
            assert response.status == 200
            received = await response.content.readexactly(40)
            with pytest.raises(ClientPayloadError):
                await response.content.read()
        assert received[37:] == b"abc"
        found = await node.finished(received[:36].decode())
        assert found["status"] == "failed"
        assert found["result"]["error"] == "Container broke off in the middle of its answer"
        assert found["intermediate_results"] == [{"container": "echo", "output": {"output": "abc"}}]


async def test_a_client_that_disconnects(node: RunningNode, echo: Echo) -> None:
    """The call to the container is ended, what had arrived is kept, the slot is free again."""
    body = {"containers": ["echo"], "data": {"chunks": ["one", "wait"]}}
    for _ in range(3):  # one more than there are slots
        response = await node.session.post(node.url + "/api/jobs/stream", json=body)
        identifier = (await response.content.readchunk())[0].decode().strip()
        assert (await response.content.readchunk())[0] == b"one"
        response.close()
        found = await node.finished(identifier)
        assert found["status"] == "failed"
        assert "client went away" in found["result"]["error"]
        assert found["intermediate_results"] == [{"container": "echo", "output": {"output": "one"}}]
    await eventually(lambda: echo.left == 3)
    assert echo.open == 0
    assert (await node.post("/api/jobs/stream", REQUEST)).status == 200
    assert node.parts.store.pending == {}


async def test_a_client_that_disconnects_before_a_slot_is_free(
    node: RunningNode, echo: Echo
) -> None:
    for _ in range(2):
        await node.job(data={"hold": True})
    await eventually(lambda: echo.open == 2)
    response = await node.session.post(node.url + "/api/jobs/stream", json=REQUEST)
    assert len(node.parts.store.pending) == 3
    response.close()
    await eventually(lambda: len(node.parts.store.pending) == 2)
    echo.release()
    (identifier,) = (await node.get("/api/jobs?limit=1")).body
    assert (await node.finished(identifier))["status"] == "failed"
    assert (await node.finished(await node.job()))["status"] == "success"
    assert len(echo.calls) == 3


async def test_streams_share_the_slots_of_a_container(node: RunningNode, echo: Echo) -> None:
    body = {"containers": ["echo"], "data": {"hold": True, "chunks": ["x"]}}
    posts = [asyncio.create_task(node.post("/api/jobs/stream", body)) for _ in range(3)]
    jobs = [await node.job(data={"hold": True}) for _ in range(3)]
    await eventually(lambda: echo.open == 2)
    echo.release()
    for reply in await asyncio.gather(*posts):
        assert reply.body.endswith(b"\nx")
    for identifier in jobs:
        await node.finished(identifier)
    assert echo.most_open == 2


async def test_a_client_that_does_not_read_slows_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Megabytes wait in the container and not in the node, and after a while it is given up."""
    monkeypatch.setattr(streams, "_SENDING_TIME", 0.5)
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        if request.method == "POST":
            while True:
                await response.write(b"x" * 2**16)
                sent += 2**16
        return response

    async with serving(flood) as url:
        document = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"max_body_bytes": 2**20},
        }
        async with running(tmp_path, document) as node:
            host, port = node.url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port), limit=1024)
            body = b'{"containers":["echo"],"data":{}}'
            writer.write(
                b"POST /api/jobs/stream HTTP/1.1\r\nhost: %b\r\ncontent-length: %d\r\n\r\n%b"
                % (host.encode(), len(body), body)
            )
            await eventually(lambda: sent > 0)
            await eventually(lambda: not node.parts.store.pending)
            assert sent < 64 * 2**20
            (identifier,) = (await node.get("/api/jobs")).body
            found = await node.result(identifier)
            assert found["status"] == "failed"
            kept = found["intermediate_results"][0]["output"]
            assert kept["truncated"] is True
            assert len(kept["output"]) == 2**20
            writer.close()


async def test_a_long_stream_is_kept_up_to_the_limit(tmp_path: Path) -> None:
    async def long(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5000)

    document = {"server": {"max_body_bytes": 1024}}
    async with (
        serving(long) as url,
        running(tmp_path, {**document, "containers": [{"id": "echo", "url": url}]}) as node,
    ):
        reply = await node.post("/api/jobs/stream", REQUEST)
        assert reply.body[37:] == b"x" * 5000
        found = await node.finished(reply.body[:36].decode())
        assert found["status"] == "success"
        assert found["result"]["output"] == {"output": "x" * 1024, "truncated": True}


async def test_a_stop_of_the_node_ends_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._GRACE", 0.1)
    echo = Echo()
    body = {"containers": ["echo"], "data": {"chunks": ["one", "wait"]}}
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with (
            running(tmp_path, document) as node,
            node.session.post(node.url + "/api/jobs/stream", json=body) as response,
        ):
            identifier = (await response.content.readchunk())[0].decode().strip()
            await response.content.readchunk()
            await node.node.stop()
            with pytest.raises(ClientPayloadError):
                await response.content.read()
        async with running(tmp_path, document) as node:
            found = await node.result(identifier)
            assert found["status"] == "failed"
            assert "node stopped" in found["result"]["error"]
            assert found["intermediate_results"][0]["output"] == {"output": "one"}
    assert len(echo.calls) == 1
