"""The texts for errors that real connections cause."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import uvloop

from infernet_edge.containers.answers.failures import cause_of, failure_of
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import ConnectFailed, ConnectionLost, HttpError
from infernet_edge.http_client.urls import parse_url
from tests.support.ports import free_port
from tests.support.serving import Talk, talking

CLOSED = ("Container closed the connection without an answer", "it closed the connection")


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http:
        yield http


async def answer_of(http: HttpClient, url: str) -> bytes | None:
    async with await http.request("POST", parse_url(url), body=b"{}") as response:
        return await response.whole(2**20)


async def texts(http: HttpClient, url: str) -> tuple[str, str]:
    with pytest.raises(HttpError) as failed:
        await answer_of(http, url)
    found = failure_of(failed.value), cause_of(failed.value)
    for text in found:
        noise = ("ssl:", "Errno", "[", "Error", "aiohttp", "127.0.0.1", "::1", "localhost")
        assert not any(each in text for each in noise), text
    return found


def answering(*parts: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return talk


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_refused_connection(http: HttpClient, host: str) -> None:
    """Of a name with several addresses, too."""
    found = await texts(http, f"http://{host}:{free_port()}")
    assert found == ("Cannot connect to container: Connection refused", "Connection refused")


def test_a_connection_that_is_closed_before_the_request_is_written() -> None:
    """As when a container is killed; whether asyncio or uvloop notices it so is a race."""

    async def bodies(delay: float) -> AsyncGenerator[bytes, None]:
        yield b"{"
        await asyncio.sleep(delay)
        yield b"}"

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def send() -> set[tuple[str, str]]:
        found = set()
        async with talking(close) as url, HttpClient() as http:
            for delay in (0.0, 0.001, 0.01):
                for body in (bodies(delay), b"{}"):
                    with pytest.raises(HttpError) as failed:
                        await http.request("POST", parse_url(url), body=body, size=2)
                    found.add((failure_of(failed.value), cause_of(failed.value)))
        return found

    assert asyncio.run(send()) == uvloop.run(send()) == {CLOSED}


async def test_an_unknown_name(http: HttpClient) -> None:
    cause = "its name or address is not known"
    found = await texts(http, "http://no-such-host.invalid:3000")
    assert found == (f"Cannot connect to container: {cause}", cause)


async def test_tls_where_the_service_has_none(http: HttpClient) -> None:
    async with talking(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        _, cause = await texts(http, url.replace("http:", "https:"))
    assert cause.startswith("it does not speak TLS")


def test_a_server_that_closes_in_the_handshake_of_tls() -> None:
    async def ask() -> tuple[str, str]:
        async with HttpClient() as http, talking(answering()) as url:
            return await texts(http, url.replace("http:", "https:"))

    cause = "Connection reset by peer"
    expected = (f"Cannot connect to container: {cause}", cause)
    assert asyncio.run(ask()) == uvloop.run(ask()) == expected


async def test_a_certificate_that_is_not_trusted(http: HttpClient, tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=x -keyout k -out c"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=60)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    server = await asyncio.start_server(answering(b""), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, cause = await texts(http, f"https://127.0.0.1:{port}")
    assert cause == "its certificate is not valid (self-signed certificate)"


@pytest.mark.parametrize(
    ("parts", "cause"),
    [
        ((), "it closed the connection"),
        ((b"rubbish\r\n\r\n",), "its answer is not valid HTTP"),
        (
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"{"),
            "it broke off in the middle of its answer",
        ),
    ],
)
async def test_answers_that_are_not_complete(
    http: HttpClient, parts: tuple[bytes, ...], cause: str
) -> None:
    async with talking(answering(*parts)) as url:
        assert (await texts(http, url))[1] == cause


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://a..b:3000"])
async def test_a_url_that_is_not_valid(http: HttpClient, url: str) -> None:
    assert "url" in (await texts(http, url))[0] or "name" in (await texts(http, url))[0]


def test_an_error_of_the_system() -> None:
    unreachable = OSError(101, "whatever")
    for error in (ConnectFailed(unreachable), ConnectionLost(unreachable)):
        assert cause_of(error) == "Network is unreachable"
        assert failure_of(error).endswith(": Network is unreachable")
    unknown = ConnectFailed(socket.gaierror(-2, "x"))
    assert cause_of(unknown) == "its name or address is not known"
