"""`infernet-edge events`: those that are kept, those that come, and lost connections."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commanding import WAYS, commanding, run_command
from tests.support.node import NodeProcess
from tests.support.running import running
from tests.support.serving import Echo, serving, talking


def containers(url: str) -> dict[str, Any]:
    return {"containers": [{"id": "echo", "url": url}]}


def names(text: str) -> list[str]:
    return [json.loads(line)["event"] for line in text.splitlines()]


@pytest.mark.parametrize("way", WAYS)
async def test_those_that_are_kept(
    tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(Echo()) as url, commanding(tmp_path, way, containers(url)) as command:
        assert await command("events") == 0  # from now on the node keeps them for a while
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "infernet-edge events --follow" in captured.err
        for _ in range(2):
            assert await command("submit", "echo", "--wait", "20", "--json") == 0
        job = json.loads(capsys.readouterr().out.splitlines()[-1])["id"]
        assert await command("events", "--types", "job", "--json") == 0
        shown = capsys.readouterr().out
        expected = ["job.accepted", "job.started", "job.finished"]
        assert names(shown) == ["hello", *expected, *expected]
        assert json.loads(shown.splitlines()[-1])["data"]["id"] == job
        assert await command("events", "--tail", "1") == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[0].split()[1:] == ["job.finished", job]
        assert "containers=echo" in lines[1]
        assert max(map(len, lines)) <= 80
        assert await command("events", "--tail", "0") == 0
        assert capsys.readouterr().out == ""


async def test_they_are_followed_over_a_restart(tmp_path: Path) -> None:
    """What happened while the connection was lost is shown, or that some were missed."""
    async with serving(Echo()) as url:
        with NodeProcess(containers(url), tmp_path) as node:
            process = await asyncio.create_subprocess_exec(
                *("python", "-m", "infernet_edge", "events", "-f", "--json", "--url", node.url),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None

            async def until(name: str) -> None:
                assert process.stdout is not None
                async with asyncio.timeout(60):
                    while json.loads(await process.stdout.readline())["event"] != name:
                        pass

            await until("hello")
            submit = ("submit", "echo", "--url", node.url)
            assert await asyncio.to_thread(run_command, *submit) == 0
            await until("job.finished")
            await asyncio.to_thread(node.restart)
            await until("resync")
            assert await asyncio.to_thread(run_command, *submit) == 0
            await until("job.finished")
            process.send_signal(2)
            _, error = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 130
    assert error.decode().splitlines()[-1] == "Connected again"
    assert b"Traceback" not in error


async def test_it_resumes_with_the_last_id(capsys: pytest.CaptureFixture[str]) -> None:
    """The second connection asks for what came after the last event of the first one."""
    heads = []
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if len(heads) < 3:
            event = b'id: %d-boot\nevent: job.failed\ndata: {"id": "\\u001b[2J"}\n\n' % len(heads)
            writer.write(head + event)
            await writer.drain()
        else:
            writer.write(b'HTTP/1.1 403 Forbidden\r\n\r\n{"error": "No more", "params": {}}')
            gone.set()

    async with talking(talk) as url:
        assert await asyncio.to_thread(run_command, "events", "-f", "--url", url) == 1
    assert gone.is_set()
    assert b"Last-Event-ID" not in heads[0]
    assert b"Last-Event-ID: 1-boot\r\n" in heads[1]
    assert b"Last-Event-ID: 2-boot\r\n" in heads[2]
    captured = capsys.readouterr()
    assert captured.out.count("job.failed") == 2
    assert "\x1b" not in captured.out
    assert "Connecting again" in captured.err
    assert captured.err.endswith("No more\n")


async def test_a_node_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:9"
    assert await asyncio.to_thread(run_command, "events", "-f", "--url", url) == 1
    assert "nothing listens at port 9" in capsys.readouterr().err


async def test_a_server_without_events(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Echo()) as url:
        assert await asyncio.to_thread(run_command, "events", "--url", url) == 1
    assert "404" in capsys.readouterr().err


async def test_wrong_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as node:
        for wrong in (["--types", "jobs"], ["--tail", "1000"], ["--tail", "x"]):
            assert await asyncio.to_thread(run_command, "events", *wrong, "--url", node.url) == 2
            assert "expected" in capsys.readouterr().err
