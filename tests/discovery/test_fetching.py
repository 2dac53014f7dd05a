"""Other nodes are asked with care: whatever they answer is bounded, checked and cleaned."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.discovery import fetching
from infernet_edge.discovery.fetching import ask_node
from infernet_edge.discovery.nodes import ask_all
from infernet_edge.http_client.client import HttpClient
from tests.support.ports import free_port

HEALTHY = {"status": "healthy"}
INFO = {"version": "1.4.0+edge.0.1.0", "containers": [{"id": "a"}, {"id": "b"}], "chain": {}}


@asynccontextmanager
async def node(health: Any, info: Any = INFO) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server with these answers; gives its URL, and the requests that it gets."""
    asked: list[web.Request] = []

    def answering(answer: Any) -> Callable[[web.Request], Any]:
        async def answer_it(request: web.Request) -> web.StreamResponse:
            asked.append(request)
            if callable(answer):
                made: web.StreamResponse = await answer(request)
                return made
            text = answer if isinstance(answer, str) else json.dumps(answer)
            return web.Response(text=text, content_type="application/json")

        return answer_it

    application = web.Application()
    application.add_routes(
        [web.get("/health", answering(health)), web.get("/info", answering(info))]
    )
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        await runner.cleanup()


async def ask(url: str) -> fetching.Answered:
    async with HttpClient() as http:
        return await ask_node(http, url)


async def test_a_node_is_asked_without_a_token() -> None:
    pending = {"offchain": 2, "onchain": 1}
    async with node(HEALTHY, INFO | {"pending": pending}) as (url, asked):
        answer = await ask(url)
    assert answer == ("healthy", "1.4.0+edge.0.1.0", ["a", "b"], 3, "")
    for request in asked:
        assert "Authorization" not in request.headers
        assert "Cookie" not in request.headers
    async with node({"status": "unhealthy"}) as (url, _):
        assert (await ask(url)).health == "unhealthy"


async def _redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/info")


async def _refuse(request: web.Request) -> web.StreamResponse:
    return web.Response(status=401)


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 2**16)


async def _slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_redirect, "it answered with status 302"),
        (_refuse, "it needs a token"),
        (_endless, "its answer is too long"),
        (_slow, "timed out"),
        ("[" * 60_000, "its answer is not that of a node"),
        ("\x00", "its answer is not that of a node"),
        ([], "its answer is not that of a node"),
        ({"status": 5, "version": 5}, "its answer is not that of a node"),
    ],
)
async def test_answers_that_are_no_use(
    answer: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_FETCH_TIMEOUT", 0.5)
    start = time.monotonic()
    async with node(answer) as (url, asked):
        assert await ask(url) == ("unreachable", "", None, None, reason)
        assert [request.path for request in asked] == ["/health"]
    assert time.monotonic() - start < 5
    async with node(HEALTHY, answer) as (url, _):
        found = await ask(url)
    assert (found.health, found.reason) == ("healthy", reason)


async def test_texts_are_cleaned() -> None:
    hostile = {"version": "\x1b[2J" + "v" * 500, "containers": [{"id": "<b>"}, {"id": "ok"}]}
    async with node(HEALTHY, hostile) as (url, _):
        answer = await ask(url)
    assert answer.containers == ["ok"]
    assert answer.version.startswith("\ufffd[2J")
    assert len(answer.version) == 64


async def test_what_does_not_speak_http_is_said_so() -> None:
    assert (await ask(f"http://127.0.0.1:{free_port()}")).reason == "Connection refused"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await ask(f"http://127.0.0.1:{port}")).reason == "its answer is not one of HTTP"
        assert (await ask(f"https://127.0.0.1:{port}")).health == "unreachable"


async def test_many_nodes_that_hang_take_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with node(hang) as (url, _), HttpClient() as http:
        start = time.monotonic()
        answers = await ask_all(http, [f"{url}/{number}" for number in range(100)])
        assert time.monotonic() - start < 25
    assert len(answers) == 64
    assert {answer.health for answer in answers.values()} == {"unreachable"}
