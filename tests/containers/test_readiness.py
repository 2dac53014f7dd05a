from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers import readiness as module
from infernet_edge.containers.readiness import port_seems_closed, probe
from infernet_edge.containers.service import Service
from infernet_edge.http_client.client import HttpClient
from tests.support.openai_server import OpenAIServer
from tests.support.ports import free_port
from tests.support.serving import read_request, serving, talking


class Answering:
    """A server that answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Answering:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *details: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.answer:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer)
            await writer.drain()
        writer.close()


def status(line: str) -> bytes:
    return f"HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()


def service(url: str, **settings: Any) -> Service:
    return Service(Container(id="echo", url=url, **settings), managed=False)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http:
        yield http


@pytest.mark.parametrize("line", ["200 OK", "404 Not Found", "500 Oh", "302 Found"])
async def test_any_answer_is_sufficient_without_a_health_path(http: HttpClient, line: str) -> None:
    async with Answering(status(line)) as server:
        assert await probe(http, service(server.url)) == ""
        assert server.requests[0].startswith("GET / HTTP/1.1")


@pytest.mark.parametrize("line", ["200 OK", "302 Found"])
async def test_a_good_status_of_the_health_path(http: HttpClient, line: str) -> None:
    async with Answering(status(line)) as server:
        asked = service(server.url + "/base/", health_path="/health", bearer=Secret("token"))
        assert await probe(http, asked) == ""
        assert server.requests[0].startswith("GET /base/health HTTP/1.1")
        assert "Authorization: Bearer token\r\n" in server.requests[0]


@pytest.mark.parametrize("line", ["404 Not Found", "503 Busy"])
async def test_a_bad_status_of_the_health_path_is_reported(http: HttpClient, line: str) -> None:
    async with Answering(status(line)) as server:
        problem = await probe(http, service(server.url, health_path="/health"))
        assert problem == f"/health answers with status {line[:3]}"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n"])
async def test_an_accepted_connection_is_not_sufficient(http: HttpClient, answer: bytes) -> None:
    async with Answering(answer) as server:
        assert server.url in await probe(http, service(server.url))


async def test_nothing_listens(http: HttpClient) -> None:
    assert "no answer from" in await probe(http, service(f"http://127.0.0.1:{free_port()}"))


async def test_no_answer_in_time(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    # The kernel accepts the connection, and nothing reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "within 0.1 seconds" in await probe(http, service(url))


async def test_a_port_seems_closed_when_it_refuses_or_closes_connections() -> None:
    silent = asyncio.Event()
    closing: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if closing:  # as a forwarder whose service is not there
            writer.close()
            return
        assert await reader.read(1) == b""  # nothing is sent
        silent.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert not await port_seems_closed(port)
        await asyncio.wait_for(silent.wait(), 5)
        closing.append(True)
        assert await port_seems_closed(port)
    assert await port_seems_closed(free_port())


async def test_the_port_of_a_busy_container_does_not_seem_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts nothing itself
        assert not await port_seems_closed(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("protocol", "path"), [("infernet", "/"), ("http", "/"), ("openai", "/health")]
)
async def test_servers_of_models_are_not_ready_while_they_load_one(
    http: HttpClient, protocol: str, path: str
) -> None:
    async with Answering(status("503 Service Unavailable")) as server:
        problem = await probe(http, service(server.url, protocol=protocol))
        expected = f"{path} answers with status 503, as servers do that load a model"
        assert problem == ("" if protocol == "infernet" else expected)
        server.answer = status("404 Not Found")
        assert await probe(http, service(server.url, protocol=protocol)) == ""
        assert server.requests[0].startswith(f"GET {path} ")


async def test_the_models_are_known_when_a_server_is_ready() -> None:
    server = OpenAIServer("small", loading=1)
    async with HttpClient() as http, serving(server) as url:
        llm = service(url, protocol="openai", headers={"X-Key": "top"})
        assert await probe(http, llm)
        assert llm.model_ids == []
        assert await probe(http, llm) == ""
        assert llm.model == "small"
        llm.set_ready()
        server.models = ("other",)
        assert await probe(http, llm) == ""  # which is not asked again while it is ready
        assert llm.model == "small"
        llm.set_failed("it ended")
        assert await probe(http, llm) == ""
        assert llm.model == "other"
    with_models = ["/health", "/v1/models"]
    assert server.probed == ["/health", *with_models, "/health", *with_models]


async def test_headers_are_sent_with_probes(http: HttpClient) -> None:
    async with Answering(status("200 OK")) as server:
        headers = {"X-Key": Secret("top")}
        assert await probe(http, service(server.url, protocol="http", headers=headers)) == ""
        assert "X-Key: top\r\n" in server.requests[0]


async def test_a_page_that_comes_after_its_head_is_read(http: HttpClient) -> None:
    """Else its server could not send it, and might log that as an error."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(b"ok")

    async with talking(talk) as url:
        for _ in range(3):
            assert await probe(http, service(url)) == ""
    assert connections == 1


@pytest.mark.parametrize("page", [b"", b"x" * 1_000_000])
async def test_a_page_without_end_is_not_waited_for(http: HttpClient, page: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + page)
        await writer.drain()
        await reader.read()

    async with talking(talk) as url, asyncio.timeout(4):
        assert await probe(http, service(url)) == ""
