"""`infernet-edge reload`, and SIGHUP of the service, with a real node."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.cli.main import main
from tests.support.node import NodeProcess
from tests.support.reloading import Reloadable, reloadable
from tests.support.serving import serving


async def command(node: Reloadable, *arguments: str) -> int:
    """Write the document and run `reload`; returns its exit code."""
    node.file.write_text(json.dumps(node.document))
    return await asyncio.to_thread(main, ["reload", "--config", str(node.file), *arguments])


async def test_what_was_applied_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with reloadable(tmp_path, {"jobs": {}, "log": {}}) as node:
        assert await command(node) == 0
        assert capsys.readouterr().out == "Nothing was changed\n"
        node.document["jobs"]["max_pending"] = 5
        node.document["log"]["backup_count"] = 5
        assert await command(node) == 0
        assert capsys.readouterr().out.splitlines() == [
            "Applied:",
            "  jobs.max_pending",
            "These need a restart of the node:",
            "  log.backup_count",
        ]
        assert await command(node, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {
            "applied": [],
            "needs_restart": ["log.backup_count"],
            "problems": [],
            "notes": [],
        }


async def test_another_node_at_its_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the token of an operator; that of others is refused with what to do."""
    tokens = {name: f"a-token-of-{name}-0123456789" for name in ("anna",)}
    async with reloadable(tmp_path, {"jobs": {}, "server": {"tokens": tokens}}) as node:
        made = await asyncio.to_thread(
            main, ["token", "new", "op", "--scope", "operator", "--config", str(node.file)]
        )
        assert made == 0
        operator = capsys.readouterr().out.strip()
        node.document["jobs"]["max_pending"] = 5
        node.file.write_text(json.dumps(node.document))
        arguments = ["reload", "--url", node.url]
        monkeypatch.delenv("INFERNET_EDGE_TOKEN", raising=False)
        assert await asyncio.to_thread(main, arguments) == 1
        assert "--scope operator" in capsys.readouterr().err
        monkeypatch.setenv("INFERNET_EDGE_TOKEN", tokens["anna"])
        assert await asyncio.to_thread(main, arguments) == 1
        assert "operator" in capsys.readouterr().err
        assert node.node.config.jobs.max_pending != 5
        (tmp_path / "token").write_text(operator)
        (tmp_path / "token").chmod(0o600)
        arguments += ["--token-file", str(tmp_path / "token"), "--json"]
        assert await asyncio.to_thread(main, arguments) == 0
        assert json.loads(capsys.readouterr().out)["applied"] == ["jobs.max_pending"]
        assert node.node.config.jobs.max_pending == 5


@pytest.mark.parametrize("answer", [{}, [], {"applied": 5}, {"problems": [None]}])
async def test_what_is_not_a_node(capsys: pytest.CaptureFixture[str], answer: Any) -> None:
    async with serving(lambda _: _answer(answer)) as url:
        assert await asyncio.to_thread(main, ["reload", "--url", url]) == 1
    assert "did not answer as an Infernet node does" in capsys.readouterr().err


@pytest.mark.parametrize("problems", [[], ["\x1b[2J"]])
async def test_nothing_of_an_answer_reaches_the_terminal_as_it_is(
    capsys: pytest.CaptureFixture[str], problems: list[str]
) -> None:
    report = {"applied": ["\x1b[31m"], "needs_restart": ["\x07"], "notes": ["\u202e"]}
    async with serving(lambda _: _answer(report | {"problems": problems})) as url:
        await asyncio.to_thread(main, ["reload", "--url", url])
    printed = capsys.readouterr()
    assert (printed.out + printed.err).replace("\n", "").isprintable()
    assert "\\u001b" in printed.out + printed.err


async def _answer(body: Any) -> web.Response:
    return web.json_response(body)


async def test_problems_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with reloadable(tmp_path, {"jobs": {}}) as node:
        node.document["jobs"]["max_pending"] = 0
        assert await command(node) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        lines = printed.err.splitlines()
        assert lines[0] == "The configuration cannot be used, so nothing was changed:"
        assert lines[1].startswith("  jobs.max_pending: found 0, expected ")
        assert await command(node, "--json") == 1
        assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


async def test_notes_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with reloadable(tmp_path, {"jobs": {}}) as node:
        node.document["jobs"] = {"max_pendin": 5}
        assert await command(node) == 0
        printed = capsys.readouterr()
        assert printed.out == "Nothing was changed\n"
        assert printed.err.startswith("warning: ")
        assert "jobs.max_pendin" in printed.err


def test_without_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"storage": {"path": str(tmp_path / "data")}}))
    assert main(["reload", "--config", str(file)]) == 1
    assert "No node runs with the storage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "something that is not JSON"),
        ('{"storage": {"path": 5}}', "storage.path: found 5"),
        ('{"storage": 5}', "storage: found 5"),
        (None, "no readable file"),
    ],
)
def test_a_file_that_does_not_name_the_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, expected: str
) -> None:
    """No other node is reloaded in its place, such as that of the default folder."""
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    assert main(["reload", "--config", str(file)]) == 78
    printed = capsys.readouterr().err
    assert printed.startswith(f"{file}: 1 error\n")
    assert expected in printed


def received(systemd: socket.socket, until: str) -> list[str]:
    """The messages up to one that begins with this text."""
    found: list[str] = []
    systemd.settimeout(10)
    while not (found and found[-1].startswith(until)):
        found.append(systemd.recv(4096).decode())
    return found


def status_of(node: NodeProcess) -> dict[str, Any]:
    events = [line for line in node.log().splitlines() if "node.reload" in line]
    return {"count": len(events), "last": events[-1] if events else ""}


def test_of_a_service_sighup_reloads(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with NodeProcess({"jobs": {"max_pending": 10}}, tmp_path, env=env) as node:
            assert node.process is not None
            received(systemd, "READY=1")
            node.config["jobs"]["max_pending"] = 11
            node.config_path.write_text(json.dumps(node.config))
            began = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            node.process.send_signal(signal.SIGHUP)
            reloading, ready = received(systemd, "READY=1")
            assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert int(reloading.splitlines()[1].partition("=")[2]) >= began
            assert ready.startswith("READY=1\nSTATUS=Serving at ")
            assert "jobs.max_pending" in status_of(node)["last"]
            node.config_path.write_text("{")
            node.process.send_signal(signal.SIGHUP)
            received(systemd, "READY=1")
            assert "node.reload_failed" in status_of(node)["last"]
