"""What a connection does when one of both sides ends before the other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from infernet_edge.http_client import resolver
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import ConnectionLost, HttpError, IncompleteAnswer
from infernet_edge.http_client.resolver import AddressInfo
from infernet_edge.http_client.urls import parse_url
from tests.support.certificates import make_certificate
from tests.support.serving import read_request, talking

MEGABYTE = 2**20
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http:
        yield http


async def endless_body() -> AsyncGenerator[bytes, None]:
    while True:
        yield b"x" * MEGABYTE


async def test_an_answer_that_ends_while_the_body_is_not_taken(http: HttpClient) -> None:
    """The server ends its side, and neither reads nor closes the other one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 413 Large\r\n\r\ntoo large")
        writer.write_eof()
        await asyncio.sleep(60)

    async with talking(talk) as url, asyncio.timeout(10):
        body = b"x" * 16 * MEGABYTE
        async with await http.request("POST", parse_url(url), (), body) as response:
            assert response.status == 413
            assert await response.whole(9) == b"too large"


async def test_no_request_follows_a_body_that_is_not_taken(http: HttpClient) -> None:
    """It would wait behind a body that the server may never read."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(60)

    async with talking(talk) as url, asyncio.timeout(10):
        for _ in range(2):
            body = b"x" * 16 * MEGABYTE
            async with await http.request("POST", parse_url(url), (), body) as response:
                assert await response.whole(9) == b"{}"
    assert connections == 2


async def test_closing_the_client_ends_requests_whose_body_is_sent() -> None:
    begun = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await asyncio.sleep(60)

    http = HttpClient()
    async with talking(talk) as url, asyncio.timeout(10):
        body = endless_body()
        work = asyncio.create_task(http.request("POST", parse_url(url), (), body, 2**40))
        await begun.wait()
        await http.close()
        with pytest.raises(IncompleteAnswer):
            await work


async def test_only_a_get_is_repeated_when_an_idle_connection_is_closed(http: HttpClient) -> None:
    """As by servers that close each connection after one answer, and do not say so."""
    requests = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")

    async with talking(talk) as url:
        target = parse_url(url)
        for _ in range(3):
            async with await http.request("GET", target) as response:
                assert await response.whole(9) == b"{}"
        assert len(requests) == 3
        with pytest.raises(ConnectionLost):
            await http.request("POST", target, (), b"{}")
        assert len(requests) == 3


async def test_a_get_is_not_repeated_without_end(http: HttpClient) -> None:
    requests = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        if requests == 1:
            writer.write(OK)
            await read_request(reader)
            requests += 1

    async with talking(talk) as url:
        async with await http.request("GET", parse_url(url)):
            pass
        with pytest.raises(ConnectionLost):
            await http.request("GET", parse_url(url))
    assert requests == 3


@pytest.mark.parametrize("answer", [OK, b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}"])
async def test_nothing_of_a_call_waits_for_the_garbage_collector(
    http: HttpClient, answer: bytes
) -> None:
    """Its input and its answer may be large."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    class Kept(bytearray):
        """Counted by the collector."""

    async def call(url: str) -> None:
        kept = Kept(9)
        with contextlib.suppress(HttpError):
            async with await http.request("POST", parse_url(url), (), bytes(kept)) as response:
                kept += await response.read()
                while part := await response.read():
                    kept += part

    def parts_of_calls() -> int:
        names = ("Exchange", "Body", "HttpResponse", "HttpResponseParser")
        return sum(type(each).__name__ in names for each in gc.get_objects())

    async with talking(talk) as url:
        gc.collect()
        before = parts_of_calls()  # tests of this process may have left some
        gc.disable()
        try:
            for _ in range(5):
                await call(url)
            await asyncio.sleep(0.05)  # until the loop has forgotten the last one
            assert not [each for each in gc.get_objects() if isinstance(each, Kept)]
            assert parts_of_calls() <= before
        finally:
            gc.enable()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_connection_that_is_not_waited_for_is_closed(tmp_path: Path, host: str) -> None:
    """Whatever has been done of it: the connection itself, the handshake of TLS."""
    made = make_certificate(tmp_path)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(made.cert, made.key)
    client_context = ssl.create_default_context(cafile=str(made.cert))
    opened = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        try:
            await reader.read()
        except ConnectionError:
            pass  # it was closed
        finally:
            opened -= 1
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=server_context)
    async with server, HttpClient(lambda: client_context) as http:
        target = parse_url(f"https://{host}:{server.sockets[0].getsockname()[1]}")
        for steps in range(60):
            work = asyncio.create_task(http.request("GET", target))
            for _ in range(steps):
                await asyncio.sleep(0.0002 if steps > 30 else 0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
        await asyncio.sleep(0.2)  # until the server has seen them all
        await eventually(lambda: opened == 0)


async def test_idle_connections_are_closed_without_the_farewell_of_tls(tmp_path: Path) -> None:
    """A server that does not answer it would keep them open."""
    made = make_certificate(tmp_path)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(made.cert, made.key)
    client_context = ssl.create_default_context(cafile=str(made.cert))
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server_context.wrap_bio(incoming, outgoing, server_side=True)
        is_answered = False
        while data := await reader.read(2**16):
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                if not is_answered:
                    tls.do_handshake()
                    tls.read(2**16)
                    tls.write(OK)
                    is_answered = True
            writer.write(outgoing.read())
        ended.set()

    async with talking(talk) as url:
        target = parse_url(url.replace("http", "https"))
        http = HttpClient(lambda: client_context)
        async with await http.request("GET", target) as response:
            assert await response.whole(9) == b"{}"
        await http.close()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_name_with_a_dot_at_its_end_has_the_certificate_of_that_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificate(tmp_path, "DNS:a.example")
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(made.cert, made.key)
    client_context = ssl.create_default_context(cafile=str(made.cert))

    async def found(host: str, port: int) -> list[AddressInfo]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        writer.close()

    monkeypatch.setattr(resolver, "_by_system", found)
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=server_context)
    async with server, HttpClient(lambda: client_context) as http:
        target = parse_url(f"https://a.example.:{server.sockets[0].getsockname()[1]}")
        async with await http.request("GET", target) as response:
            assert await response.whole(9) == b"{}"


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)
