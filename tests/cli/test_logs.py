"""`infernet-edge logs`: lines, lost connections, what a terminal must not get."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from tests.support.commanding import run_command
from tests.support.serving import serving, talking
from tests.support.terminal import on_a_terminal

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n"
LINES: list[dict[str, Any]] = [
    {"t": 1764233114136, "s": "out", "l": "ready"},
    {"t": 1764233114137, "s": "err", "l": "\x1b[31mred\u202e"},
    {"dropped": 75},
]
TEXT = b"\n".join(json.dumps(line).encode() for line in LINES) + b"\n\n"


async def test_the_last_lines(capfd: pytest.CaptureFixture[str]) -> None:
    queries = []

    async def answer(request: web.Request) -> web.StreamResponse:
        queries.append(request.path_qs)
        return web.Response(body=TEXT)

    async with serving(answer) as url:
        logs = ["logs", "a/b", "--url", url]
        assert await asyncio.to_thread(run_command, *logs) == 0
        captured = capfd.readouterr()
        assert captured.out == "ready\n\x1b[31mred\u202e\n"
        assert captured.err.startswith("75 lines were left out")
        assert await asyncio.to_thread(run_command, *logs, "--times", "--tail", "7") == 0
        assert capfd.readouterr().out.startswith("2025-11-27T08:45:14Z  ready\n")
        assert await asyncio.to_thread(run_command, *logs, "--json") == 0
        found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert found == LINES
        code, screen = await asyncio.to_thread(on_a_terminal, [], *logs)
        assert code == 0
        assert "ready\n\\u001b[31mred\\u202e\n" in screen
    assert queries[:2] == [
        "/api/containers/a%2Fb/logs?tail=300",
        "/api/containers/a%2Fb/logs?tail=7",
    ]


async def test_a_lost_connection(capfd: pytest.CaptureFixture[str]) -> None:
    """After it, lines that were shown are not shown again, and what was missed is."""
    heads = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        texts = [
            b"".join(b'{"t": %d, "l": "n%d"}\n' % (n, n) for n in range(1, end)) for end in (3, 5)
        ]
        if len(heads) <= 2:
            writer.write(HEAD + texts[len(heads) - 1])
            await writer.drain()
        else:
            writer.write(b'HTTP/1.1 404 x\r\n\r\n{"error": "No such container", "params": {}}')

    async with talking(talk) as url:
        arguments = ["logs", "a", "-f", "--tail", "2", "--url", url]
        assert await asyncio.to_thread(run_command, *arguments) == 1
    captured = capfd.readouterr()
    assert captured.out == "n1\nn2\nn3\nn4\n"
    assert captured.err.splitlines()[1] == "Connected again"
    assert captured.err.endswith("No such container\n")
    assert b"tail=2&follow=true" in heads[0]
    assert b"tail=2000&follow=true" in heads[1]


@pytest.mark.parametrize("body", [b"text\n", b"[]\n", b'{"t": "now"}\n', b"\xff\n"])
async def test_lines_that_are_no_json(body: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    async with serving(answer) as url:
        assert await asyncio.to_thread(run_command, "logs", "a", "--url", url) == 1
    assert "did not answer as an Infernet node does" in capfd.readouterr().err


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ([], ["a", "--tail", "2001"], ["a", "--tail", "x"], ["a", "b"]):
        assert run_command("logs", *wrong) == 2
        assert capsys.readouterr().err.startswith("usage: infernet-edge")
