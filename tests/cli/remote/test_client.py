"""Requests to a node: its errors, and servers that are slow, gone, or no node at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.cli.remote import client as client_module
from infernet_edge.cli.remote.address import parse_url
from infernet_edge.cli.remote.client import NodeClient
from infernet_edge.cli.remote.failures import NodeError, NodeRefused, NodeUnreachable
from tests.support.commanding import TOKEN, commanding, run_command
from tests.support.running import running
from tests.support.serving import Echo, Talk, serving, talking

Fetch = Callable[[str], Any]


async def fetch(url: str, path: str = "/info") -> Any:
    return await asyncio.to_thread(NodeClient(parse_url(url)).get, path)


async def failure(url: str, path: str = "/info") -> NodeError:
    with pytest.raises(NodeError) as error:
        await fetch(url, path)
    return error.value


def saying(answer: bytes, *, then: bytes = b"", each: float = 0.0) -> Talk:
    """A server that answers these bytes, then slowly the others, and hangs."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        for byte in then:
            await asyncio.sleep(each)
            writer.write(bytes([byte]))
            await writer.drain()
        if then:
            await asyncio.sleep(60)

    return talk


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"\0\1\2\3", b"HTTP/1.1 two hundred\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"),
        b"HTTP/1.1 200 OK\r\n" + 200 * b"a: b\r\n" + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: " + 100_000 * b"a" + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\n\r\n" + 100_000 * b"[",
        b'HTTP/1.1 200 OK\r\n\r\n"\xff"',
        b"HTTP/1.1 404 Not Found\r\n\r\n<html>",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 50\r\n\r\n\xff",
        b'HTTP/1.1 500 x\r\n\r\n{"error": 1}',
        b"HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:9/\r\n\r\n",
    ],
    ids=range(16),
)
async def test_answers_that_are_no_answer_of_a_node(answer: bytes) -> None:
    async with talking(saying(answer)) as url:
        error = await failure(url)
    assert url in str(error)
    assert "Traceback" not in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 429 x\r\ncontent-length: 99\r\n\r\n"]
)
@pytest.mark.parametrize("each", [0.05, 60.0], ids=["slow", "silent"])
async def test_slow_servers_are_left(
    answer: bytes, each: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is one of the whole: a byte now and then does not extend it."""
    monkeypatch.setattr(client_module, "_HEAD_SECONDS", 0.5)
    monkeypatch.setattr(client_module, "_BODY_SECONDS", 0.5)
    monkeypatch.setattr(client_module, "_IDLE_SECONDS", 0.3)
    async with talking(saying(answer, then=b"a" * 1000, each=each)) as url:
        began = time.monotonic()
        await failure(url)
        assert time.monotonic() - began < 30


async def test_an_endless_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_MAX_ANSWER", 2**20)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(65536 * b"a")
            await writer.drain()

    async with talking(talk) as url:
        with pytest.raises(NodeError, match="is longer than 1 MiB"):
            await fetch(url)


async def test_a_rate_limit_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    async def limited(request: web.Request) -> web.StreamResponse:
        calls.append(time.monotonic())
        if len(calls) == 1:
            body = {"error": "Too many requests", "params": {}}
            return web.json_response(body, status=429, headers={"retry-after": "1"})
        return web.json_response({"n": len(calls)})

    async with serving(limited) as url:
        assert await fetch(url) == {"n": 2}
    assert calls[1] - calls[0] > 0.9
    assert "waiting 1 s" in capsys.readouterr().err


@pytest.mark.parametrize(("after", "calls"), [("3600", 1), ("", 1), ("soon", 1), ("1", 4)])
async def test_a_rate_limit_is_not_waited_for_without_end(
    after: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    made = []

    async def limited(request: web.Request) -> web.StreamResponse:
        made.append(1)
        body = {"error": "Too many requests", "params": {}}
        return web.json_response(body, status=429, headers={"retry-after": after})

    async with serving(limited) as url:
        error = await failure(url)
    assert isinstance(error, NodeRefused)
    assert "Too many requests" in str(error)
    assert len(made) == calls


async def test_tokens_of_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"server": {"tokens": {"anna": TOKEN}}}
    async with running(tmp_path, document) as node:
        error = await failure(node.url)
        assert "needs a token" in str(error)
        for part in ("INFERNET_EDGE_TOKEN", "--token-file", "infernet-edge token new NAME"):
            assert part in str(error)
        file = tmp_path / "token"
        file.write_text("another-token-0123456789")
        file.chmod(0o600)
        named = ["--url", node.url, "--token-file", str(file)]
        assert await asyncio.to_thread(run_command, "cancel", "x", *named) == 1
        said = capsys.readouterr().err
        assert "did not accept this token" in said
        assert "another-token" not in said
        file.write_text(TOKEN)
        assert await asyncio.to_thread(run_command, "cancel", "x", *named, "--json") == 1
        assert json.loads(capsys.readouterr().out) == []


async def test_https(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with commanding(tmp_path, "tls") as command:
        url = command.node.url
        for other, text in (
            ([url], "is not trusted (self-signed certificate). Copy the certificate"),
            ([url.replace("https", "http")], "https"),
            ([url.replace("127.0.0.1", "127.0.0.2"), *command.arguments[2:]], "cannot"),
        ):
            assert await asyncio.to_thread(run_command, "cancel", "x", "--url", *other) == 1
            assert text in capsys.readouterr().err.replace("Cannot", "cannot")
    other_name = tmp_path / "other"
    other_name.mkdir()
    async with commanding(other_name, "tls") as command:
        localhost = command.node.url.replace("127.0.0.1", "localhost")
        arguments = ["--url", localhost, *command.arguments[2:], "--json"]
        assert await asyncio.to_thread(run_command, "cancel", "x", *arguments) == 1
        assert json.loads(capsys.readouterr().out) == []


async def test_a_body_that_is_refused_in_its_middle(tmp_path: Path) -> None:
    """What the node says about it is shown, not that it closed the connection."""
    document = {"server": {"max_body_bytes": 100_000}}
    async with running(tmp_path, document) as node:
        sender = NodeClient(parse_url(node.url))
        parts = [b'{"a": "', 20 * 2**20 * b"a", b'"}']
        with pytest.raises(NodeError) as error:
            await asyncio.to_thread(sender.fetch, "POST", "/api/jobs", body=parts)
    assert isinstance(error.value, NodeRefused)
    assert error.value.status == 413


async def test_a_node_that_stops_in_the_middle_of_an_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
    async with talking(saying(head + b"{")) as url:
        error = await failure(url)
    assert isinstance(error, NodeUnreachable)
    assert error.reached
    assert "closed the connection before its answer was complete" in str(error)


async def test_terminal_codes_of_a_server_are_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "\x1b[2Jred", "params": {"\x1b": "\x1b]0;"}}, status=400)

    async with serving(refuse) as url:
        assert await asyncio.to_thread(run_command, "cancel", "x", "--url", url) == 1
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert "\\u001b[2Jred" in error


async def test_the_echo_of_a_header_is_that_of_the_url() -> None:
    echo = Echo()
    async with serving(echo) as url:
        sender = NodeClient(parse_url(f"{url}/behind/a/proxy"))
        answer = await asyncio.to_thread(sender.fetch, "POST", "/x", body=[b'{"data": {}}'])
    assert json.loads(answer)["by"] == "/behind/a/proxy/x"
    assert echo.headers[0]["Host"] == url.removeprefix("http://")
    assert "Authorization" not in echo.headers[0]
