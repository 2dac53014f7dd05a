"""The texts for errors that real connections cause."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import uvloop

from infernet_edge.containers.answers.failures import cause_of, failure_of
from infernet_edge.containers.client import make_session
from tests.support.ports import free_port
from tests.support.serving import Talk, talking

CLOSED = ("Container closed the connection without an answer", "it closed the connection")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with make_session() as session:
        yield session


async def texts(session: aiohttp.ClientSession, url: str) -> tuple[str, str]:
    with pytest.raises((aiohttp.ClientError, OSError, ValueError)) as failed:
        async with session.post(url, data=b"{}") as response:
            await response.read()
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
async def test_a_refused_connection(session: aiohttp.ClientSession, host: str) -> None:
    """Of a name with several addresses, too."""
    found = await texts(session, f"http://{host}:{free_port()}")
    assert found == ("Cannot connect to container: Connection refused", "Connection refused")


def test_a_connection_that_is_closed_before_the_request_is_written() -> None:
    """As when a container is killed; whether asyncio or uvloop notices it so is a race."""

    async def bodies(delay: float) -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(delay)
        yield b"}"

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def send() -> set[tuple[str, str]]:
        found = set()
        async with talking(close) as url, make_session() as session:
            for delay in (0.0, 0.001, 0.01):
                for body in (bodies(delay), b"{}"):
                    with pytest.raises((aiohttp.ClientError, OSError)) as failed:
                        await session.post(url, data=body)
                    found.add((failure_of(failed.value), cause_of(failed.value)))
        return found

    assert asyncio.run(send()) == uvloop.run(send()) == {CLOSED}


async def test_an_unknown_name(session: aiohttp.ClientSession) -> None:
    cause = "its name or address is not known"
    found = await texts(session, "http://no-such-host.invalid:3000")
    assert found == (f"Cannot connect to container: {cause}", cause)


async def test_tls_where_the_service_has_none(session: aiohttp.ClientSession) -> None:
    async with talking(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        _, cause = await texts(session, url.replace("http:", "https:"))
    assert cause.startswith("it does not speak TLS")


async def test_a_certificate_that_is_not_trusted(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    command = "openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=x -keyout k -out c"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=60)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    server = await asyncio.start_server(answering(b""), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, cause = await texts(session, f"https://127.0.0.1:{port}")
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
    session: aiohttp.ClientSession, parts: tuple[bytes, ...], cause: str
) -> None:
    async with talking(answering(*parts)) as url:
        assert (await texts(session, url))[1] == cause


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://a..b:3000"])
async def test_a_url_that_is_not_valid(session: aiohttp.ClientSession, url: str) -> None:
    assert "url" in (await texts(session, url))[0] or "name" in (await texts(session, url))[0]


def test_an_error_of_the_system() -> None:
    assert cause_of(OSError(101, "whatever")) == "Network is unreachable"
    assert cause_of(socket.gaierror(-2, "x")) == "its name or address is not known"
