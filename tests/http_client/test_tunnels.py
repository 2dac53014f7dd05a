"""Requests through proxies: tunnels to servers with TLS, forwarding for those without."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import (
    ConnectFailed,
    ConnectionLost,
    NotHttp,
    ProxyRefused,
)
from infernet_edge.http_client.tunnels import MAX_TUNNEL_HEAD
from infernet_edge.http_client.urls import Target, parse_url, through
from tests.support.certificates import Certificate, make_certificate
from tests.support.ports import free_port
from tests.support.serving import read_request, talking

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Proxy:
    """Opens tunnels to `port` of this machine whatever host is asked for; forwards nothing."""

    def __init__(self, port: int = 0, answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> None:
        self.port, self.answer = port, answer
        self.asked: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await read_request(reader))
        writer.write(self.answer)
        if not self.port:
            await reader.read()
            return
        there, to_there = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            await asyncio.gather(_copied(reader, to_there), _copied(there, writer))
        finally:
            to_there.close()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path / "server", "DNS:rpc.example.org")


@contextlib.asynccontextmanager
async def secure_server(certificate: Certificate, asked: list[bytes]) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                asked.append(await read_request(reader))
                writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def trusting(certificate: Certificate) -> Callable[[], ssl.SSLContext]:
    return lambda: ssl.create_default_context(cafile=str(certificate.cert))


def target_through(proxy: str, url: str = "https://rpc.example.org/key") -> Target:
    return through(parse_url(url), proxy, "Basic c2VjcmV0")


async def test_a_tunnel(certificate: Certificate) -> None:
    asked: list[bytes] = []
    async with secure_server(certificate, asked) as port:
        proxy = Proxy(port)
        async with talking(proxy) as url, HttpClient(trusting(certificate)) as http:
            for _ in range(3):
                sent = await http.request("POST", target_through(url), body=b"[1]")
                async with sent as response:
                    assert await response.whole(9) == b"{}"
    [connect] = proxy.asked  # the tunnel is kept
    assert connect == (
        b"CONNECT rpc.example.org:443 HTTP/1.1\r\nHost: rpc.example.org:443\r\n"
        b"Proxy-Authorization: Basic c2VjcmV0\r\n\r\n"
    )
    assert len(asked) == 3
    assert asked[0].startswith(b"POST /key HTTP/1.1\r\nHost: rpc.example.org\r\n")
    assert b"c2VjcmV0" not in b"".join(asked)


async def test_the_server_behind_a_tunnel_is_verified(certificate: Certificate) -> None:
    async with (
        secure_server(certificate, []) as port,
        talking(Proxy(port)) as url,
        HttpClient(trusting(certificate)) as http,
    ):
        with pytest.raises(ConnectFailed) as failed:
            await http.request("GET", target_through(url, "https://other.example.org/"))
    assert isinstance(failed.value.os_error, ssl.SSLCertVerificationError)
    assert not failed.value.of_proxy


async def test_what_is_forwarded_names_the_whole_url() -> None:
    proxy = Proxy(answer=ANSWER)
    async with talking(proxy) as url, HttpClient() as http:
        target = target_through(url, "http://rpc.example.org:8545/key?a=b")
        async with await http.request("POST", target, body=b"[1]") as response:
            assert await response.whole(9) == b"{}"
    assert proxy.asked == [
        b"POST http://rpc.example.org:8545/key?a=b HTTP/1.1\r\nHost: rpc.example.org:8545\r\n"
        b"Proxy-Authorization: Basic c2VjcmV0\r\nContent-Length: 3\r\n\r\n[1]"
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 407 Authentication\r\ncontent-length: 0\r\n\r\n", ProxyRefused),
        (b"HTTP/1.0 502 Bad\r\n\r\nno such host", ProxyRefused),
        (b"SSH-2.0-x\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", NotHttp),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_TUNNEL_HEAD, NotHttp),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(answer: bytes, error: type[Exception]) -> None:
    async with talking(Proxy(answer=answer)) as url, HttpClient() as http:
        with pytest.raises(error):
            await http.request("GET", target_through(url))


async def test_a_proxy_that_closes_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with talking(talk) as url, HttpClient() as http:
        with pytest.raises(ConnectionLost):
            await http.request("GET", target_through(url))


async def test_a_proxy_that_hangs() -> None:
    async with talking(Proxy(answer=b"")) as url, HttpClient(connect_timeout=0.2) as http:
        with pytest.raises(ConnectFailed) as failed:
            await http.request("GET", target_through(url))
    assert failed.value.os_error.errno == 110


@pytest.mark.parametrize("url", ["http://rpc.example.org/", "https://rpc.example.org/"])
async def test_a_proxy_that_is_down(url: str) -> None:
    async with HttpClient() as http:
        with pytest.raises(ConnectFailed) as failed:
            await http.request("GET", target_through(f"http://127.0.0.1:{free_port()}", url))
    assert failed.value.of_proxy
