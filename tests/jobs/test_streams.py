"""A streaming job between its container and its reader; tests/api/test_streams.py has the rest."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.errors import StorageError, Unavailable
from infernet_edge.jobs import contents
from infernet_edge.jobs.contents import PIECE
from infernet_edge.jobs.streams import JobStream
from tests.support.breaking import slow_disk
from tests.support.managing import eventually
from tests.support.parts import Parts, made, outcome, result, submit, working
from tests.support.serving import Echo, serving


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def parts(tmp_path: Path, echo: Echo) -> AsyncIterator[Parts]:
    async with serving(echo) as url:
        containers = [{"id": "echo", "url": url, "max_concurrency": 1, "timeout": 5}]
        async with working(tmp_path, {"containers": containers}) as working_parts:
            yield working_parts
            echo.release()


async def opened(parts: Parts, data: dict[str, Any]) -> JobStream:
    job = made(parts, data=data, stream=True)
    await parts.store.add([job])
    return parts.orchestrator.open_stream(job, parts.orchestrator.stream_memory())


async def test_a_stream_to_its_end(parts: Parts) -> None:
    stream = await opened(parts, {"chunks": ["one", "two"]})
    assert await stream.opened == "text/plain"
    assert b"".join([chunk async for chunk in stream.chunks()]) == b"onetwo"
    assert not stream.failed
    found = await outcome(parts, stream.job)
    assert found["status"] == "success"
    assert found["result"]["output"] == {"output": "onetwo"}
    stream.cancel()  # does nothing any more
    await asyncio.sleep(0.01)
    assert await outcome(parts, stream.job) == found


async def read(stream: JobStream) -> str:
    """Read a stream to its end and return what the store has then."""
    assert [chunk async for chunk in stream.chunks()] == [b"one"]
    return stream.job.id


async def test_a_reader_that_saw_the_end_finds_the_result(parts: Parts, echo: Echo) -> None:
    stream = await opened(parts, {"chunks": ["one", "wait"]})
    await stream.opened
    with slow_disk(parts.database):
        reading = asyncio.create_task(read(stream))
        echo.release()
        await asyncio.sleep(0.2)
        assert not reading.done()
    assert (await result(parts, await reading))["status"] == "success"


async def test_a_reader_that_saw_the_failure_finds_it(parts: Parts, echo: Echo) -> None:
    stream = await opened(parts, {"hold": True, "status": 500})
    await eventually(lambda: echo.open == 1)
    with slow_disk(parts.database):
        echo.release()
        await asyncio.sleep(0.2)
        assert not stream.opened.done()
    with pytest.raises(ContainerFailure):
        await stream.opened
    assert (await result(parts, stream.job))["status"] == "failed"


async def test_a_disk_that_hangs_does_not_block_the_reader(
    parts: Parts, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.jobs.streams._SAVING_TIME", 0.05)
    stream = await opened(parts, {"chunks": ["one", "wait"]})
    await stream.opened
    with slow_disk(parts.database):
        echo.release()
        async with asyncio.timeout(20):
            await read(stream)
    assert (await outcome(parts, stream.job))["status"] == "success"


async def test_a_reader_that_leaves_before_the_end_is_stored_changes_nothing(
    parts: Parts, echo: Echo
) -> None:
    stream = await opened(parts, {"chunks": ["one", "wait"]})
    await stream.opened
    with slow_disk(parts.database):
        echo.release()
        await eventually(lambda: echo.open == 0)
        await asyncio.sleep(0.1)
        stream.cancel()
        await asyncio.sleep(0.05)
    assert (await outcome(parts, stream.job))["status"] == "success"


async def test_a_failure_before_the_first_byte(parts: Parts) -> None:
    stream = await opened(parts, {"status": 503})
    with pytest.raises(ContainerFailure):
        await stream.opened
    assert stream.failed
    assert [chunk async for chunk in stream.chunks()] == []
    found = await outcome(parts, stream.job)
    assert found["status"] == "failed"
    assert found["intermediate_results"] == []


async def test_a_failure_without_a_reader_is_not_reported_by_asyncio(parts: Parts) -> None:
    stream = await opened(parts, {"status": 503})
    await outcome(parts, stream.job)
    del stream  # pytest would report an exception that was never retrieved


async def test_a_cancelled_stream_keeps_what_had_arrived(parts: Parts, echo: Echo) -> None:
    stream = await opened(parts, {"chunks": ["one", "wait"]})
    await stream.opened
    async for chunk in stream.chunks():
        assert chunk == b"one"
        break
    stream.cancel()
    found = await outcome(parts, stream.job)
    assert found["status"] == "failed"
    assert found["result"]["error"] == "The client went away before the stream ended"
    assert found["intermediate_results"] == [{"container": "echo", "output": {"output": "one"}}]
    await eventually(lambda: echo.left == 1)


async def test_the_slot_goes_to_the_next_job(parts: Parts, echo: Echo) -> None:
    stream = await opened(parts, {"chunks": ["one", "wait"]})
    await stream.opened
    jobs = [await submit(parts) for _ in range(3)]
    await asyncio.sleep(0.02)
    assert len(echo.calls) == 1
    stream.cancel()
    for job in jobs:
        assert (await outcome(parts, job))["status"] == "success"
    assert echo.most_open == 1


async def test_a_stop_ends_a_stream(
    parts: Parts, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.jobs.orchestrator._GRACE", 0.05)
    stream = await opened(parts, {"chunks": ["one", "wait"]})
    waiting = await opened(parts, {"chunks": ["two"]})
    await stream.opened
    await parts.orchestrator.stop()
    for one in (stream, waiting):
        found = await outcome(parts, one.job)
        assert found["result"]["error"] == "The node stopped while the job was streaming"
    assert len(echo.calls) == 1


async def test_an_input_that_cannot_be_read(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(job: Any) -> bytes:
        raise StorageError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(parts.store, "take_data", broken)
        stream = await opened(parts, {})
        with pytest.raises(ContainerFailure):
            await stream.opened
    assert [chunk async for chunk in stream.chunks()] == []
    assert stream.failed
    assert (await outcome(parts, stream.job))["status"] == "failed"
    assert "disk I/O error" in caplog.text
    assert (await outcome(parts, await submit(parts)))["status"] == "success"


async def test_a_reader_that_does_not_read_stops_the_container(tmp_path: Path) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2000):
            await response.write(b"x" * 2**16)
            sent += 1
        await response.write_eof()
        return response

    async with serving(flood) as url:
        document = {
            "containers": [{"id": "echo", "url": url}],
            "server": {"max_body_bytes": 2**16},
        }
        async with working(tmp_path, document) as parts:
            stream = await opened(parts, {})
            await stream.opened
            before = -1
            while before < sent:  # until the container gets no further
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 1000
            length = 0
            async for chunk in stream.chunks():
                length += len(chunk)
            assert length == 2000 * 2**16
            found = await outcome(parts, stream.job)
            assert found["status"] == "success"
            assert found["result"]["output"]["truncated"] is True


async def test_a_container_that_falls_silent(tmp_path: Path, echo: Echo) -> None:
    async with serving(echo) as url:
        containers = [{"id": "echo", "url": url, "timeout": 0.2}]
        async with working(tmp_path, {"containers": containers}) as parts:
            stream = await opened(parts, {"chunks": ["one", "wait"]})
            assert [chunk async for chunk in stream.chunks()] == [b"one"]
            found = await outcome(parts, stream.job)
            assert found["result"]["error"] == "Container did not answer within 0.2 s"
            assert found["intermediate_results"][0]["output"] == {"output": "one"}


async def test_a_long_stream_may_take_longer_than_the_timeout(
    tmp_path: Path,
) -> None:
    """The time-out is for the next bytes, not for all of them."""

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(8):
            await response.write(b"x")
            await asyncio.sleep(0.1)
        await response.write_eof()
        return response

    async with serving(slow) as url:
        containers = [{"id": "echo", "url": url, "timeout": 0.6}]
        async with working(tmp_path, {"containers": containers}) as parts:
            stream = await opened(parts, {})
            assert b"".join([chunk async for chunk in stream.chunks()]) == b"x" * 8
            assert not stream.failed


def large_text(size: int) -> list[str]:
    """Chunks of text with characters of two bytes, some of which are cut by the pieces."""
    return ["xü" * (size // 3)]


async def streamed(parts: Parts, chunks: list[str]) -> dict[str, Any]:
    stream = await opened(parts, {"chunks": chunks})
    received = b"".join([chunk async for chunk in stream.chunks()])
    assert received == "".join(chunks).encode()
    return await outcome(parts, stream.job)


@pytest.mark.parametrize("size", [PIECE - 3, PIECE, PIECE + 3, 5 * PIECE, 2_000_000])
async def test_a_large_stream_is_stored_while_it_comes(parts: Parts, size: int) -> None:
    chunks = large_text(size)
    found = await streamed(parts, chunks)
    assert found["result"]["output"] == {"output": chunks[0]}
    assert await pieces_of(parts, contents.STREAMED) == 0
    await eventually(lambda: parts.memory.total == 0)


async def test_a_large_stream_that_is_no_text(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000

    async def binary(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(content), 10_001):
            await response.write(content[start : start + 10_001])
        return response

    async with serving(binary) as url, working(tmp_path, one(url)) as parts:
        stream = await opened(parts, {})
        assert b"".join([chunk async for chunk in stream.chunks()]) == content
        found = await outcome(parts, stream.job)
        assert base64.b64decode(found["result"]["output"]["output_base64"]) == content


def one(url: str) -> dict[str, Any]:
    return {"containers": [{"id": "echo", "url": url}]}


async def pieces_of(parts: Parts, part: int) -> int:
    def count(connection: sqlite3.Connection) -> int:
        query = "SELECT count(*) FROM pieces WHERE part = ?"
        return int(connection.execute(query, (part,)).fetchone()[0])

    return await parts.database.read(count)


async def test_a_large_stream_is_cut_where_the_node_keeps_no_more(
    tmp_path: Path, echo: Echo
) -> None:
    limit = 3 * PIECE + 1  # within a character
    async with serving(echo) as url:
        document = one(url) | {"server": {"max_body_bytes": limit}}
        async with working(tmp_path, document) as parts:
            (text,) = large_text(4 * PIECE)
            found = await streamed(parts, [text])
    output = found["result"]["output"]
    assert output["truncated"]
    assert text.startswith(output["output"])
    assert limit - 3 < len(output["output"].encode()) <= limit


async def test_what_a_broken_stream_sent_is_kept(parts: Parts) -> None:
    (text,) = large_text(3 * PIECE)
    stream = await opened(parts, {"chunks": [text, "wait"]})
    received = 0
    async for chunk in stream.chunks():
        received += len(chunk)
        if received == len(text.encode()):
            break
    await eventually_stored(parts, 3)
    stream.cancel()
    found = await outcome(parts, stream.job)
    assert found["status"] == "failed"
    assert "went away" in found["result"]["error"]
    (between,) = found["intermediate_results"]
    assert between["output"]["output"] == text
    assert await pieces_of(parts, contents.STREAMED) == 0


async def eventually_stored(parts: Parts, pieces: int) -> None:
    async with asyncio.timeout(10):
        while await pieces_of(parts, contents.STREAMED) < pieces - 1:
            await asyncio.sleep(0.01)


async def test_what_a_stream_sent_before_the_node_was_killed_is_kept(
    tmp_path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = large_text(3 * PIECE)
    async with serving(echo) as url:
        async with working(tmp_path, one(url), stop=False) as parts:
            stream = await opened(parts, {"chunks": [text, "wait"]})
            received = 0
            async for chunk in stream.chunks():
                received += len(chunk)
                if received == len(text.encode()):
                    break
            await eventually_stored(parts, 3)
            monkeypatch.setattr(parts.store, "finish_stream", refuse)
        async with working(tmp_path, one(url)) as parts:
            found = await outcome(parts, stream.job)
    assert found["result"]["error"] == "The node stopped while the job was streaming"
    (between,) = found["intermediate_results"]
    assert text.startswith(between["output"]["output"])
    assert len(between["output"]["output"]) > PIECE


def refuse(*_: object) -> asyncio.Future[None]:
    raise StorageError("killed")


async def test_a_stream_continues_while_the_disk_is_away(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held in memory meanwhile, and stored when that is possible again."""
    monkeypatch.setattr("infernet_edge.jobs.streams._STORE_RETRY", 0.01)
    keep, failures = parts.store.keep_streamed, 3

    def unreliable(*arguments: Any) -> asyncio.Future[None]:
        nonlocal failures
        if not failures:
            return keep(*arguments)
        failures -= 1
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failed.set_exception(StorageError("disk I/O error"))
        return failed

    monkeypatch.setattr(parts.store, "keep_streamed", unreliable)
    chunks = large_text(6 * PIECE)
    found = await streamed(parts, chunks)
    assert found["result"]["output"] == {"output": chunks[0]}
    assert failures < 3
    await eventually(lambda: parts.memory.total == 0)


async def test_a_stream_that_is_faster_than_the_disk_waits_for_it(parts: Parts, echo: Echo) -> None:
    chunks = ["x" * PIECE] * 60
    stream = await opened(parts, {"chunks": [*chunks, "wait"]})
    await stream.opened
    received = 0

    async def read_all() -> None:
        nonlocal received
        async for chunk in stream.chunks():
            received += len(chunk)

    with slow_disk(parts.database):
        reading = asyncio.create_task(read_all())
        await eventually(lambda: received >= 16 * PIECE)
        await asyncio.sleep(0.2)
        assert received < 32 * PIECE
        assert parts.memory.held["streams"] <= 24 * PIECE
    await eventually(lambda: received == 60 * PIECE)
    await eventually_stored(parts, 61)  # all of it, though nothing more comes
    echo.release()
    await reading
    found = await outcome(parts, stream.job)
    assert found["result"]["output"] == {"output": "x" * 60 * PIECE}
    await eventually(lambda: parts.memory.total == 0)


async def test_streams_without_memory_for_buffers_are_refused(parts: Parts) -> None:
    taken = []
    with contextlib.suppress(Unavailable):
        while True:
            taken.append(parts.orchestrator.stream_memory())
    with pytest.raises(Unavailable):
        parts.orchestrator.stream_memory()
    assert len(taken) > 8
    for memory in taken:
        memory.release()
