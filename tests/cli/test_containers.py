"""`infernet-edge containers`: the list, restart, and pull with its progress."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.cli import containers
from tests.support.commanding import commanding, run_command
from tests.support.managing import eventually
from tests.support.operating import managed
from tests.support.podman import IsolatedPodman
from tests.support.serving import Echo, Handler, serving

DIGEST = "sha256:" + 64 * "a"
WRITER: dict[str, Any] = {
    "id": "writer",
    "state": "ready",
    "reason": "",
    "managed": True,
    "restarts": 2,
    "slots": {"used": 1, "of": 2},
    "waiting": 3,
    "cpu_percent": 187.6,
    "memory": 2**30,
    "memory_limit": 2**32,
    "image": "docker.io/me/writer:1",
    "digest": DIGEST,
    "new_digest": None,
    "pull": None,
    "pull_error": None,
    "url": None,
}
ELSEWHERE = {
    "id": "elsewhere",
    "state": "failed",
    "reason": "no answer\x1b[2J",
    "managed": False,
    "restarts": None,
    "slots": {"used": 0, "of": 8},
    "waiting": 0,
    "cpu_percent": None,
    "memory": None,
    "memory_limit": None,
    "image": None,
    "url": "http://10.0.0.1",
}


def node(states: Iterator[dict[str, Any]]) -> Handler:
    """A node whose container is in the next of these states with each question."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"items": [next(states), ELSEWHERE]})
        _, name, action = request.path.rsplit("/", 2)
        if name != "writer":
            body = {"error": "The node does not manage this container", "params": {"id": name}}
            return web.json_response(body, status=409)
        return web.json_response({"id": name, "state": "starting", "action": action}, status=202)

    return answer


async def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(node(iter([WRITER, WRITER]))) as url:
        assert await asyncio.to_thread(run_command, "containers", "--url", url) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert lines == [
            "writer             ready, 1 of 2 slots used, 3 waiting, CPU 188 %, 1024 MiB of",
            "    4096 MiB, 2 restarts",
            "    docker.io/me/writer:1",
            f"    {DIGEST}",
            "elsewhere          failed, 0 of 8 slots used",
            "    no answer\\u001b[2J",
            "    http://10.0.0.1",
        ]
        assert await asyncio.to_thread(run_command, "containers", "--json", "--url", url) == 0
        assert json.loads(capsys.readouterr().out) == [WRITER, ELSEWHERE]


async def test_a_service_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with commanding(tmp_path, "url", document) as command:
            assert await command("containers") == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines[0].startswith("echo               runs elsewhere, not managed, 0 of ")
            assert lines[1] == f"    {url}"


async def test_restart(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(node(iter([]))) as url:
        restart = ["containers", "restart", "--url", url]
        assert await asyncio.to_thread(run_command, *restart, "writer") == 0
        assert "writer is restarted" in capsys.readouterr().out
        assert await asyncio.to_thread(run_command, *restart, "writer", "--json") == 0
        assert json.loads(capsys.readouterr().out)[0]["state"] == "starting"
        assert await asyncio.to_thread(run_command, *restart, "elsewhere") == 1
        assert "does not manage this container (id elsewhere)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "code", "text"),
    [
        ({"new_digest": DIGEST}, 0, "writer: a newer image is here. To run it:"),
        ({}, 0, "writer: the image is up to date"),
        ({"pull_error": "denied"}, 1, "writer: the image could not be pulled: denied"),
    ],
)
async def test_pull(
    end: dict[str, Any],
    code: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(containers, "_POLL_PERIOD", 0.01)
    progress = [{"bytes": None, "of": None}, *({"bytes": n * 2**20, "of": 2**23} for n in (2, 8))]
    for options in ([], ["--json"]):
        states = [*({**WRITER, "pull": each} for each in progress), {**WRITER, **end}]
        async with serving(node(iter(states))) as url:
            pull = ["containers", "pull", "writer", "--url", url, *options]
            assert await asyncio.to_thread(run_command, *pull) == code
        captured = capsys.readouterr()
        if options:
            (found,) = json.loads(captured.out)
            assert found["action"] == "pull"
            assert end.items() <= found.items()
        else:
            assert text in captured.out + captured.err
            assert "writer: 2 MiB of 8 MiB pulled\nwriter: 8 MiB of 8 MiB pulled\n" in captured.err


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for action, expected in (("restart", "the id of a container"), ("stop", "'restart', 'pull'")):
        assert run_command("containers", action) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.timeout(300)  # it pulls and restarts beside others
async def test_real_containers(
    podman: IsolatedPodman, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list, the log and a restart of a container that Podman runs."""
    document = managed(podman, {"id": "echo", "image": podman.echo_image(), "memory": "512m"})
    async with commanding(tmp_path, "control", document) as command:
        node = command.node
        assert await command("containers") == 0
        shown = capsys.readouterr().out
        assert shown.startswith("echo               ready, 0 of ")
        assert " MiB of 512 MiB" in " ".join(shown.split())
        assert "sha256:" in shown
        await node.finished(await node.job(data={"print": "~said before"}))
        assert await command("logs", "echo", "--tail", "100") == 0
        assert "~said before\n" in capsys.readouterr().out
        following = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infernet_edge", "logs", "echo", "-f", "--tail", "0"),
            *command.arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        assert following.stdout is not None
        await asyncio.sleep(1.5)  # until it follows
        assert await command("containers", "restart", "echo") == 0
        assert "echo is restarted" in capsys.readouterr().out
        await eventually(lambda: node.node.services["echo"].state == "starting")
        await eventually(lambda: node.node.services["echo"].state == "ready")
        await node.finished(await node.job(data={"print": "~said after"}))
        async with asyncio.timeout(20):
            while b"~said after" not in await following.stdout.readline():
                pass
        following.send_signal(2)
        assert await following.wait() == 130
        assert await command("containers", "--json") == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert (found["restarts"], found["state"]) == (1, "ready")
        assert await command("containers", "pull", "echo") == 1  # an image of this machine
        assert "echo" in capsys.readouterr().err
        url = ["--url", node.url]
        for words in (["containers", "restart", "echo"], ["logs", "echo"]):
            assert await asyncio.to_thread(run_command, *words, *url) == 1
            assert "This needs the scope operator" in capsys.readouterr().err
        assert await command("logs", "absent") == 1
        assert "No such container" in capsys.readouterr().err
