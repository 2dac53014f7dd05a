"""`infernet-edge status` of another node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.commanding import WAYS, commanding, run_command
from tests.support.ports import free_port
from tests.support.serving import Echo, serving


@pytest.mark.parametrize("way", WAYS)
async def test_one_screen(tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Echo()) as url:
        down = {"id": "down", "url": f"http://127.0.0.1:{free_port()}"}
        document = {"containers": [{"id": "echo", "url": url}, down]}
        async with commanding(tmp_path, way, document) as command:
            assert await command("submit", "echo", "--wait", "20") == 0
            capsys.readouterr()
            assert await command("status") == 0
            lines = capsys.readouterr().out.splitlines()
            assert max(map(len, lines)) <= 80
            needs = {"tls": "2 things need"}  # its certificate expires soon
            assert lines[0] == f"Working, but {needs.get(way, '1 thing needs')} you"
            assert lines[1].startswith("  version 1.4.0+edge.")
            assert "  jobs: 0 running, 0 waiting" in lines
            text = "\n".join(lines)
            for part in ("\n  up ", "last hour: 1 done, 0 failed; half took under ", "  disk: "):
                assert part in text
            assert "  containers: 1 of 2 run" in lines
            assert "    fix: " in text
            assert await command("status", "--json") == 0
            shown = json.loads(capsys.readouterr().out)
            assert shown["healthy"]
            assert shown["overview"]["jobs"]["hour"]["done"] == 1


def serving_paths(answers: dict[str, Any]) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path not in answers:
            return web.json_response({"error": "No such endpoint", "params": {}}, status=404)
        return web.json_response(answers[request.path])

    return serving(handle)


async def test_a_node_of_another_make(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"/health": {"status": "unhealthy"}, "/info": {"version": "1.4.0"}}
    async with serving_paths(answers) as url:
        assert await asyncio.to_thread(run_command, "status", "--url", url) == 1
    assert capsys.readouterr().out.startswith(f"Unhealthy\n  version 1.4.0, at {url}\n")


@pytest.mark.parametrize(
    "overview", [[], {"jobs": 3}, {"containers": [{}]}, {"attention": [{"level": 1}]}]
)
async def test_a_server_that_answers_otherwise(
    overview: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"/health": {"status": "healthy"}, "/info": {}, "/api/overview": overview}
    async with serving_paths(answers) as url:
        assert await asyncio.to_thread(run_command, "status", "--url", url) == 1
    assert "did not answer as an Infernet node does" in capsys.readouterr().err


async def test_what_the_machine_says(capsys: pytest.CaptureFixture[str]) -> None:
    machine = {
        "disk_free": 3 * 2**30,
        "disk_size": 32 * 2**30,
        "disk_days_left": 3.2,
        "temperature_c": 81.6,
        "throttled": True,
    }
    overview = {
        "machine": machine,
        "intake": {"open": False, "reason": "the disk is full"},
        "node": {"urls": ["http://pi.local:4000"]},
        "attention": [{"text": "a\x1b[2J", "fix": "b", "command": "c\x1b[2J"}],
        "chain": {"chain_id": 8453, "head": 5, "address": "0x1", "balance": "12"},
    }
    answers = {"/health": {"status": "healthy"}, "/info": {}, "/api/overview": overview}
    async with serving_paths(answers) as url:
        assert await asyncio.to_thread(run_command, "status", "--url", url) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for line in (
        "  network: http://pi.local:4000",
        "  jobs: 0 running, 0 waiting; new ones are refused: the disk is full",
        "  disk: 3.0 GiB of 32.0 GiB free; full in about 3 days at the pace of the last",
        "  temperature: 82 degrees Celsius, slowed down by heat",
        "  chain 8453: block 5, account 0x1, balance in wei 12",
    ):
        assert line in out
