"""Requests and answers over real connections, with asyncio's event loop and with uvloop's."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from infernet_edge.config.model import Container
from infernet_edge.http_client import body as body_module
from infernet_edge.http_client import exchange, pool, resolver
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import (
    ConnectFailed,
    ConnectionLost,
    IncompleteAnswer,
    NotHttp,
)
from infernet_edge.http_client.resolver import AddressInfo
from infernet_edge.http_client.urls import parse_url, unix_target
from tests.support.ports import free_port
from tests.support.serving import Talk, read_request, talking

MEGABYTE = 2**20
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH_2 = OK + b"content-length: 2\r\n\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http:
        yield http


class Server:
    """Says `parts` to each request; what it got, and on how many connections."""

    def __init__(self, *parts: bytes, stays: bool = True, pause: float = 0.0) -> None:
        self.parts, self.stays, self.pause = parts, stays, pause
        self.requests: list[bytes] = []
        self.connections = self.ended = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await read_request(reader))
                for part in self.parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(self.pause)
                if not self.stays:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed the connection
        finally:
            self.ended += 1


async def get(http: HttpClient, url: str) -> tuple[int, bytes]:
    async with asyncio.timeout(20), await http.request("GET", parse_url(url)) as response:
        content = await response.whole(64 * MEGABYTE)
        assert content is not None
        return response.status, content


ANSWERS: dict[str, tuple[tuple[bytes, ...], int, bytes]] = {
    "length": ((LENGTH_2 + b"{}",), 200, b"{}"),
    "length, later": ((LENGTH_2, b"{", b"}"), 200, b"{}"),
    "no content": ((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b""),
    "204 with a length": ((b"HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\n",), 204, b""),
    "304 with a length": ((b"HTTP/1.1 304 No\r\ncontent-length: 2\r\n\r\n",), 304, b""),
    "empty": ((OK + b"content-length: 0\r\n\r\n",), 200, b""),
    "chunks": ((CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",), 200, b"{}"),
    "chunks byte by byte": (
        tuple(bytes([each]) for each in CHUNKED + b"2;x=y\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n"),
        200,
        b"{}",
    ),
    "interim answers": (
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n", LENGTH_2 + b"{}"),
        200,
        b"{}",
    ),
    "lines without CR": ((b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",), 200, b"{}"),
    "a line end after it": ((LENGTH_2 + b"{}\r\n",), 200, b"{}"),
    "a line end after it, later": ((LENGTH_2, b"{}\r\n"), 200, b"{}"),
    "no reason": ((b"HTTP/1.1 500\r\ncontent-length: 2\r\n\r\n{}",), 500, b"{}"),
    "a large one": (
        (OK + b"content-length: %d\r\n\r\n" % (3 * MEGABYTE), b"x" * 3 * MEGABYTE),
        200,
        b"x" * 3 * MEGABYTE,
    ),
    "large chunks": (
        (CHUNKED, b"%x\r\n" % MEGABYTE, b"x" * MEGABYTE, b"\r\n0\r\n\r\n"),
        200,
        b"x" * MEGABYTE,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_of_all_forms_and_their_connection_is_used_again(
    http: HttpClient, name: str
) -> None:
    parts, status, content = ANSWERS[name]
    server = Server(*parts)
    async with talking(server) as url:
        for _ in range(3):
            assert await get(http, url) == (status, content)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ((b"HTTP/1.0 200 OK\r\n\r\n", b"a", b"b"), b"ab"),
        ((OK + b"\r\n", b"a" * MEGABYTE), b"a" * MEGABYTE),
        ((OK + b"connection: close\r\n\r\n",), b""),
        ((OK + b"connection: close\r\ncontent-length: 2\r\n\r\n", b"{}"), b"{}"),
        ((b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",), b"{}"),
    ],
)
async def test_answers_that_end_their_connection(
    http: HttpClient, parts: tuple[bytes, ...], content: bytes
) -> None:
    server = Server(*parts, stays=False)
    async with talking(server) as url:
        for _ in range(2):
            assert await get(http, url) == (200, content)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ((), ConnectionLost),
        ((b"HTTP/1.1 20",), NotHttp),
        ((b"HTTP/1.1 200 OK\r\nx: ",), NotHttp),
        ((b"220 mail\r\n",), NotHttp),
        ((b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",), NotHttp),
        ((OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}",), NotHttp),
        ((OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",), NotHttp),
        ((OK + b"content-length: -2\r\n\r\n{}",), NotHttp),
        ((OK + b"content-length: 99999999999999999999999\r\n\r\n{}",), NotHttp),
        ((LENGTH_2 + b"{}{}",), NotHttp),
        ((LENGTH_2 + b"{}" + LENGTH_2 + b"{}",), NotHttp),
        ((LENGTH_2 + b"{", b"}x"), NotHttp),
        ((LENGTH_2 + b"{", b"}\r\nx"), NotHttp),
        ((b"HTTP/1.1 099 Low\r\ncontent-length: 2\r\n\r\n{}",), NotHttp),
        ((b"HTTP/1.1 150 X\r\ncontent-length: 1\r\n\r\n1" + LENGTH_2 + b"{}",), NotHttp),
        ((OK + b"transfer-encoding: chunked\t\r\n\r\n2\r\n{}\r\n0\r\n\r\n",), NotHttp),
        ((OK + b"transfer-encoding: chunked;q=1\r\n\r\n2\r\n{}\r\n0\r\n\r\n",), NotHttp),
        ((OK + b"transfer-encoding: chunked, identity\r\n\r\n2\r\n{}\r\n",), NotHttp),
        ((OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",), NotHttp),
        ((OK + b"transfer-encoding: chunked \r\n\r\n2\r\n{}\r\n",), IncompleteAnswer),
        ((CHUNKED + b"zz\r\n",), NotHttp),
        ((CHUNKED + b"ffffffffffffffffffff\r\n",), NotHttp),
        ((LENGTH_2 + b"{",), IncompleteAnswer),
        ((CHUNKED + b"5\r\n{}",), IncompleteAnswer),
        ((CHUNKED + b"2\r\n{}\r\n",), IncompleteAnswer),
        ((CHUNKED + b"2\r\n{}\r\n0\r\n",), IncompleteAnswer),
    ],
)
async def test_answers_that_are_not_complete_or_not_clear(
    http: HttpClient, parts: tuple[bytes, ...], error: type[Exception]
) -> None:
    async with talking(Server(*parts, stays=False, pause=0.01)) as url:
        for _ in range(2):
            with pytest.raises(error):
                await get(http, url)


def endless(head: bytes, more: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(more * (64 * 1024 // len(more)))
                await writer.drain()

    return talk


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"", b"x"),
        (b"HTTP/1.1 200 ", b"x"),
        (OK, b"x: y\r\n"),
        (OK + b"x: ", b"y"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"\r\n"),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: y\r\n"),
        (CHUNKED + b"2\r\n{}\r\n0\r\nx: ", b"y"),
        (CHUNKED + b"2;", b"x"),
        (CHUNKED, b"0"),
    ],
)
async def test_what_never_ends_is_given_up(http: HttpClient, head: bytes, more: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with talking(endless(head, more)) as url:
        with pytest.raises(NotHttp):
            await get(http, url)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024  # KiB


async def test_a_head_below_the_limit(http: HttpClient) -> None:
    value = b"y" * (exchange.MAX_HEAD_BYTES - 200)
    async with talking(
        Server(OK + b"x: " + value + b"\r\ncontent-length: 2\r\n\r\n", b"{}")
    ) as url:
        assert await get(http, url) == (200, b"{}")


async def test_headers(http: HttpClient) -> None:
    head = b"HTTP/1.1 404 Caf\xc3\xa9 shut\r\nX-Two: 1\r\nx-two: 2\r\nName:  \xfc \r\n"
    server = Server(head + b"Content-Length: 0\r\n\r\n")
    async with talking(server) as url, await http.request("GET", parse_url(url)) as response:
        assert (response.status, response.reason) == (404, "Café shut")
        assert response.header("x-two") == "1"
        assert response.header("name") == "ü"
        assert response.header("other") == ""
        assert response.header("other", "none") == "none"
        assert response.content_length == 0
        assert not response.is_compressed


async def test_a_reason_that_arrives_in_parts(http: HttpClient) -> None:
    server = Server(b"HTTP/1.1 404 No", b"t Fo", b"und\r\ncontent-length: 0\r\n\r\n", pause=0.02)
    async with talking(server) as url, await http.request("GET", parse_url(url)) as response:
        assert response.reason == "Not Found"


async def test_what_is_sent(http: HttpClient) -> None:
    server = Server(LENGTH_2 + b"{}")
    async with talking(server) as url:
        host = url.removeprefix("http://").encode()
        for method, body in (("POST", b"abc"), ("GET", b""), ("POST", b""), ("DELETE", b"")):
            async with await http.request(method, parse_url(f"{url}/x"), (("A", "b"),), body):
                pass
    first = b" /x HTTP/1.1\r\nHost: " + host + b"\r\nA: b\r\n"
    assert server.requests[0] == b"POST" + first + b"Content-Length: 3\r\n\r\nabc"
    assert server.requests[1] == b"GET" + first + b"\r\n"
    assert server.requests[2] == b"POST" + first + b"Content-Length: 0\r\n\r\n"
    assert server.requests[3] == b"DELETE" + first + b"\r\n"


async def test_a_connection_with_an_answer_that_was_not_read_is_closed(http: HttpClient) -> None:
    server = Server(OK + b"content-length: 9\r\n\r\n", b"12345")
    async with talking(server) as url:
        for _ in range(2):
            async with await http.request("GET", parse_url(url)):
                pass
        await eventually(lambda: server.ended == 2)
    assert server.connections == 2


async def test_what_is_said_between_answers_ends_the_connection(http: HttpClient) -> None:
    """Such as a time-out page: it would be taken for the answer to the next request."""
    server = Server(LENGTH_2 + b"{}", b"HTTP/1.1 408 Timeout\r\n\r\n", pause=0.05)
    async with talking(server) as url:
        for _ in range(2):
            assert await get(http, url) == (200, b"{}")
            await asyncio.sleep(0.2)
        assert server.connections == 2


async def test_idle_connections_are_closed_in_time(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.KEEP_ALIVE < 2  # gunicorn closes then: what is sent at that moment is lost
    monkeypatch.setattr(pool, "KEEP_ALIVE", 0.2)
    server = Server(LENGTH_2 + b"{}", pause=0.05)
    async with talking(server) as url:
        await asyncio.gather(*(get(http, url) for _ in range(5)))
        assert server.connections == 5
        await eventually(lambda: server.ended == 5)
        await get(http, url)
        assert server.connections == 6


async def test_an_old_connection_is_not_used_even_if_its_timer_is_late(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(LENGTH_2 + b"{}")
    async with talking(server) as url:
        await get(http, url)
        monkeypatch.setattr(pool, "KEEP_ALIVE", 0.0)
        await get(http, url)
    assert server.connections == 2


async def test_requests_at_once_have_a_connection_each(http: HttpClient) -> None:
    server = Server(LENGTH_2 + b"{}", pause=0.2)
    async with talking(server) as url:
        for _ in range(2):
            await asyncio.gather(*(get(http, url) for _ in range(20)))
        assert server.connections == 20


async def test_closing_the_client_closes_idle_connections() -> None:
    server = Server(LENGTH_2 + b"{}")
    async with talking(server) as url:
        async with HttpClient() as http:
            await get(http, url)
        await eventually(lambda: server.ended == 1)
        async with HttpClient() as http:
            response = await http.request("GET", parse_url(url))
            await http.close()
            assert await response.whole(9) == b"{}"
            await eventually(lambda: server.ended == 2)


async def test_a_slow_reader_makes_the_server_wait(http: HttpClient) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(OK + b"content-length: %d\r\n\r\n" % (256 * MEGABYTE))
        with contextlib.suppress(ConnectionError):
            for _ in range(256):
                writer.write(b"x" * MEGABYTE)
                await writer.drain()
                sent += 1

    async with talking(talk) as url, await http.request("GET", parse_url(url)) as response:
        await asyncio.sleep(0.5)
        before = sent
        await asyncio.sleep(0.3)
        assert sent == before < 64  # what the kernel and both sides hold
        first = response.read_now()
        assert 0 < len(first) < body_module.MAX_BUFFERED_BYTES + MEGABYTE
        size = len(first)
        while part := await response.read(70_000):
            assert len(part) <= 70_000
            size += len(part)
        assert size == 256 * MEGABYTE


async def test_parts_of_a_length(http: HttpClient) -> None:
    content = bytes(range(256)) * 4
    chunks = b"".join(b"1\r\n%c\r\n" % each for each in content)
    server = Server(CHUNKED + chunks + b"0\r\n\r\n")
    async with talking(server) as url, await http.request("GET", parse_url(url)) as response:
        await asyncio.sleep(0.2)
        found = [part async for part in _parts(response.read, 300)]
    assert [len(part) for part in found] == [300, 300, 300, 124]
    assert b"".join(found) == content


async def _parts(read: Callable[[int], Awaitable[bytes]], most: int) -> AsyncIterator[bytes]:
    while part := await read(most):
        yield part


async def test_a_whole_answer_has_a_limit(http: HttpClient) -> None:
    async with talking(Server(OK + b"content-length: 9\r\n\r\n123456789")) as url:
        for most, expected in ((9, b"123456789"), (8, None)):
            async with await http.request("GET", parse_url(url)) as response:
                assert await response.whole(most) == expected


async def body_of(*parts: bytes, error: Exception | None = None) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part
        await asyncio.sleep(0)
    if error is not None:
        raise error


async def test_a_body_in_parts(http: HttpClient) -> None:
    server = Server(LENGTH_2 + b"{}")
    async with talking(server) as url:
        for _ in range(2):
            sent = body_of(b"a", memoryview(b"b" * MEGABYTE).tobytes(), b"c")
            async with await http.request("POST", parse_url(url), (), sent, MEGABYTE + 2) as got:
                assert await got.whole(9) == b"{}"
    assert server.requests[1].endswith(b"\r\n\r\na" + b"b" * MEGABYTE + b"c")
    assert server.connections == 1


async def test_an_error_of_a_body_is_raised_as_it_is(http: HttpClient) -> None:
    server = Server(LENGTH_2 + b"{}")
    async with talking(server) as url:
        sent = body_of(b"a", error=LookupError("the disk"))
        with pytest.raises(LookupError, match="the disk"):
            await http.request("POST", parse_url(url), (), sent, 2)
        await eventually(lambda: server.ended == 1)
        assert await get(http, url) == (200, b"{}")


async def test_a_server_that_answers_before_it_has_the_body(http: HttpClient) -> None:
    """Such as 413: the answer is read, the rest is not sent, and the connection not used again."""
    closed = asyncio.Event()
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Large\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        await reader.read()
        ended.set()

    async def endless_body() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with talking(talk) as url:
        async with await http.request("POST", parse_url(url), (), endless_body(), 2**30) as got:
            assert got.status == 413
            assert await got.whole(9) == b"{}"
        async with asyncio.timeout(10):
            await closed.wait()
            await ended.wait()


async def test_a_request_that_is_cancelled_closes_its_connection_and_its_body(
    http: HttpClient,
) -> None:
    closed, begun, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        with contextlib.suppress(ConnectionError):
            await asyncio.sleep(0.3)  # the body waits, as this side does not read
            await reader.read()
        ended.set()

    async def body() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * MEGABYTE
        finally:
            closed.set()

    async with talking(talk) as url:
        work = asyncio.create_task(http.request("POST", parse_url(url), (), body(), 2**40))
        async with asyncio.timeout(10):
            await begun.wait()
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            await closed.wait()
            await ended.wait()


async def test_a_request_that_is_cancelled_as_its_answer_arrives_hurts_no_other(
    http: HttpClient,
) -> None:
    """Its connection may be that of another request by then."""
    server = Server(LENGTH_2 + b"{}")
    async with talking(server) as url:
        target = parse_url(url)
        for delay in range(40):
            work = asyncio.create_task(http.request("GET", target))
            for _ in range(delay):
                await asyncio.sleep(0)
            if delay % 2:
                await asyncio.sleep(0.0005)
            work.cancel()
            assert await get(http, url) == (200, b"{}")
            await asyncio.gather(work, return_exceptions=True)


async def test_nothing_is_sent_twice(http: HttpClient) -> None:
    server = Server(stays=False)
    async with talking(server) as url:
        with pytest.raises(ConnectionLost):
            await get(http, url)
    assert len(server.requests) == 1


async def test_a_server_that_does_not_accept() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        async with HttpClient(connect_timeout=0.2) as http:
            with pytest.raises(ConnectFailed) as failed:
                await get(http, f"http://127.0.0.1:{listener.getsockname()[1]}")
        for each in waiting:
            each.close()
    assert failed.value.os_error.errno == 110


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_name_whose_addresses_do_not_all_answer(
    http: HttpClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`localhost` is 127.0.0.1 and ::1; servers may listen at one of them."""

    async def both(host: str, port: int) -> list[AddressInfo]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(resolver, "_by_system", both)
    server = Server(LENGTH_2 + b"{}")
    async with talking(server, address) as url:
        port = url.rpartition(":")[2]
        assert await get(http, f"http://two.example:{port}") == (200, b"{}")
    with pytest.raises(ConnectFailed):
        await get(http, f"http://two.example:{free_port()}")


async def test_no_server(http: HttpClient) -> None:
    for host in ("127.0.0.1", "[::1]", "localhost", "no-such-host.invalid"):
        with pytest.raises(ConnectFailed):
            await get(http, f"http://{host}:{free_port()}")


async def test_a_unix_socket(http: HttpClient, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = Server(LENGTH_2 + b"{}")
    async with talking(server, socket_path=path):
        for _ in range(2):
            async with await http.request("GET", unix_target(str(path), "/x")) as response:
                assert await response.whole(9) == b"{}"
        assert server.connections == 1
    with pytest.raises(ConnectFailed):
        await http.request("GET", unix_target(str(tmp_path / "none"), "/x"))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


def test_no_job_is_sent_by_a_method_that_is_repeated() -> None:
    """A GET is sent once more when a kept connection was closed; a job never is."""
    kept = get_args(get_type_hints(Container)["method"])
    assert set(kept) == {"POST", "PUT", "PATCH"}
