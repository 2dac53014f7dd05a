"""`infernet-edge stream`: chunks as they arrive, and how a stream ends."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.commanding import WAYS, commanding, run_command
from tests.support.serving import Echo, serving, talking
from tests.support.terminal import on_a_terminal

GARBAGE = b"\x1b[31mred\xff\xfe\x00\xc3"


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream(
    tmp_path: Path, way: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, way, document) as command:
            data = json.dumps({"chunks": ["one ", "twö\n"]})
            assert await command("stream", "echo", data) == 0
            captured = capfdbinary.readouterr()
            assert captured.out == "one twö\n".encode()
            assert re.fullmatch(rb"job [0-9a-f-]{36}\n", captured.err)
            assert await command("stream", "echo", data, "--json") == 0
            captured = capfdbinary.readouterr()
            events = [json.loads(line) for line in captured.out.splitlines()]
            assert list(events[0]) == ["id"]
            assert "".join(each["chunk"] for each in events[1:-1]) == "one twö\n"
            assert events[-1] == {"status": "success"}
            assert captured.err == b""


async def test_chunks_are_printed_as_they_come(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    echo = Echo()
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, "url", document) as command:
            data = json.dumps({"chunks": ["first", "wait", "second"]})
            task = asyncio.create_task(command("stream", "echo", data))
            printed = b""
            async with asyncio.timeout(20):
                while printed != b"first":
                    printed += capfdbinary.readouterr().out
                    await asyncio.sleep(0.02)
            echo.release()
            assert await task == 0
            assert capfdbinary.readouterr().out == b"second"


async def garbage(request: web.Request) -> web.StreamResponse:
    """Sends bytes that are no text, in pieces; with {"fail"}, without an end."""
    if request.method != "POST":
        return web.json_response({})
    data = (await request.json())["data"]
    response = web.StreamResponse()
    await response.prepare(request)
    for byte in GARBAGE:
        await response.write(bytes([byte]))
    if data.get("fail"):
        assert request.transport is not None
        request.transport.abort()
    return response


async def test_bytes_that_are_no_text(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with serving(garbage) as url:
        document = {"containers": [{"id": "bytes", "url": url}]}
        async with commanding(tmp_path, "url", document) as command:
            assert await command("stream", "bytes") == 0
            assert capfdbinary.readouterr().out == GARBAGE
            assert await command("stream", "bytes", "--json") == 0
            events = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
            received = b""
            for each in events[1:-1]:
                encoded = each.get("chunk_base64")
                received += base64.b64decode(encoded) if encoded else each["chunk"].encode()
            assert received == GARBAGE
            code, screen = await asyncio.to_thread(
                on_a_terminal, [], "stream", "bytes", "--url", command.node.url
            )
            assert code == 0
            assert "\\u001b[31mred\\xff\\xfe\\u0000\\xc3\n" in screen
            assert "\x1b" not in screen


async def test_a_stream_that_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with serving(garbage) as url:
        document = {"containers": [{"id": "bytes", "url": url}]}
        async with commanding(tmp_path, "url", document) as command:
            assert await command("stream", "bytes", '{"fail": true}', "--json") == 1
            captured = capfd.readouterr()
            end = json.loads(captured.out.splitlines()[-1])
            assert end["status"] == "failed"
            assert " failed in bytes: " in end["error"]
            assert end["error"] in captured.err
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path / "second", "url", document) as command:
            assert await command("stream", "echo", '{"status": 500}') == 1
            assert "500" in capfd.readouterr().err
            assert await command("stream", "absent") == 1
            assert "Container not supported" in capfd.readouterr().err


async def test_a_server_that_is_no_node(capfd: pytest.CaptureFixture[str]) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + 5000 * b"x")
        await writer.drain()

    async with talking(talk) as url:
        assert await asyncio.to_thread(run_command, "stream", "a", "--url", url) == 1
    assert "did not answer with the id of a job" in capfd.readouterr().err
