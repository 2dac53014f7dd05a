"""Puts load on a server on this machine: a lean HTTP/1.1 client, and jobs through it."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import msgspec
from msgspec import Struct

REQUEST_SECONDS = 30.0
"""Longest wait for one answer."""

DATA = {"prompt": "hello world", "n": 7, "opts": {"t": 0.5, "k": [1, 2, 3]}}


class Load(Struct, frozen=True):
    """`jobs` jobs took `seconds` from the first request until the last one had its result."""

    jobs: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname in ("127.0.0.1", "localhost"), "loopback only"
        assert parts.port is not None
        self._host = parts.hostname
        self._port = parts.port
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self._kept_alive = True

    def encode(self, method: str, path: str, body: Any = None) -> bytes:
        """Return the bytes of a request, so that a repeated one is encoded once."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
        if body is None:
            return f"{head}\r\n".encode()
        content = msgspec.json.encode(body)
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request, opening the connection where needed; return status and body."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await loop.create_connection(lambda: self, self._host, self._port)
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = loop.create_future()
        self._transport.write(request)
        # A timer costs less than wait_for, which would be a good part of the client's work.
        timer = loop.call_later(REQUEST_SECONDS, self.connection_lost, TimeoutError())
        try:
            answer = await self._answer
        finally:
            timer.cancel()
        if not self._kept_alive:
            self.close()
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, not its name.
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = []

    def on_headers_complete(self) -> None:
        self._kept_alive = self._parser.should_keep_alive()  # later it is always false

    def on_body(self, content: bytes) -> None:
        self._body.append(content)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), b"".join(self._body)))


async def post_jobs(url: str, container: str, jobs: int, connections: int) -> list[bytes]:
    """POST `jobs` jobs over `connections` connections and return the answers.

    Raises AssertionError when one is not answered with 200.
    """
    answers: list[bytes] = []
    left = iter(range(jobs))

    async def worker() -> None:
        connection = Connection(url)
        request = connection.encode("POST", "/api/jobs", job(container))
        try:
            for _ in left:
                status, body = await connection.ask(request)
                assert status == 200, f"{status} {body!r}"
                answers.append(body)
        finally:
            connection.close()

    await asyncio.gather(*(worker() for _ in range(min(connections, jobs))))
    return answers


def job(container: str) -> dict[str, Any]:
    """Return the body of a small job."""
    return {"containers": [container], "data": DATA}


async def load_bare(url: str, jobs: int, connections: int) -> Load:
    """Measure jobs through the bare handler, whose answers are the results."""
    begin = time.perf_counter()
    await post_jobs(url, "echo", jobs, connections)
    return Load(jobs, time.perf_counter() - begin)


async def load_node(url: str, jobs: int, connections: int, longest: float) -> Load:
    """Measure jobs through the node: accepted, run, and seen as finished by a client.

    Raises AssertionError when a job fails, or is not finished `longest` seconds after the start.
    """
    begin = time.perf_counter()
    answers = await post_jobs(url, "echo", jobs, connections)
    ids = [msgspec.json.decode(answer)["id"] for answer in answers]
    connection = Connection(url)
    pending = connection.encode("GET", "/api/jobs?pending=true")
    while await connection.ask(pending) != (200, b"[]"):
        assert time.perf_counter() - begin < longest, "jobs are still pending"
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - begin
    for start in range(0, len(ids), 50):
        some = ids[start : start + 50]
        query = "&".join(f"id={each}" for each in some)
        _, body = await connection.ask(connection.encode("GET", f"/api/jobs?{query}"))
        assert [each["status"] for each in msgspec.json.decode(body)] == ["success"] * len(some)
    connection.close()
    return Load(jobs, seconds)


async def node_latencies(url: str, jobs: int) -> list[float]:
    """Seconds from POST until GET shows the result, one job at a time, asked unpaused; sorted."""
    connection = Connection(url)
    request = connection.encode("POST", "/api/jobs", job("echo"))
    taken = []
    for _ in range(jobs):
        begin = time.perf_counter()
        _, body = await connection.ask(request)
        ask = connection.encode("GET", f"/api/jobs?id={msgspec.json.decode(body)['id']}")
        status = "running"
        while status == "running":
            assert time.perf_counter() - begin < REQUEST_SECONDS, "the job does not finish"
            _, body = await connection.ask(ask)
            status = msgspec.json.decode(body)[0]["status"]
        assert status == "success", body
        taken.append(time.perf_counter() - begin)
    connection.close()
    return sorted(taken)


async def latencies(
    url: str, path: str, body: Any = None, *, count: int, connections: int = 1
) -> list[float]:
    """Seconds of each of `count` requests, sorted; POST with a body, else GET.

    Raises AssertionError when one is not answered with 200.
    """
    taken: list[float] = []
    left = iter(range(count))

    async def worker() -> None:
        connection = Connection(url)
        request = connection.encode("GET" if body is None else "POST", path, body)
        try:
            for _ in left:
                begin = time.perf_counter()
                status, answer = await connection.ask(request)
                taken.append(time.perf_counter() - begin)
                assert status == 200, f"{status} {answer[:200]!r}"
        finally:
            connection.close()

    await asyncio.gather(*(worker() for _ in range(min(connections, count))))
    return sorted(taken)


def percentile(values: list[float], percent: float) -> float:
    """The value of sorted ones below which that part of them is."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))]
