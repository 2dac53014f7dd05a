"""`infernet-edge token`, with a running node and without one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.cli.main import main
from infernet_edge.storage.lock import FolderLock
from infernet_edge.storage.token_file import FILE_NAME
from tests.support.node import NodeProcess
from tests.support.running import running
from tests.support.serving import Echo, serving
from tests.support.terminal import on_a_terminal
from tests.support.tokens import bearer

CONFIGURED = "0123456789abcdef"


def config_of(folder: Path, **server: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({"storage": {"path": str(folder / "data")}, "server": server}))
    file.chmod(0o600)
    return file


class Commands:
    """Runs `token` for one folder; has what the last one printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], **server: Any) -> None:
        self._config = config_of(folder, **server)
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *arguments: str) -> int:
        self._capsys.readouterr()
        code = main(["token", *arguments, "--config", str(self._config)])
        self.out, self.err = self._capsys.readouterr()
        self.err = " ".join(self.err.split())
        return code

    async def run_beside(self, *arguments: str) -> int:
        return await asyncio.to_thread(self.run, *arguments)


async def test_with_a_running_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as node:
        command = Commands(tmp_path, capsys)
        assert await command.run_beside("list") == 0
        assert "the node is open" in " ".join(command.out.split())
        assert await command.run_beside("new", "phone", "--scope", "read", "--expires", "30d") == 0
        text = command.out.strip()
        assert text.startswith("iet_")
        assert command.out == f"{text}\n"
        assert text not in command.err
        assert "It is the first token: from now on every client of this node needs" in command.err
        assert (await node.get("/info")).status == 401
        assert (await node.get("/info", bearer(text))).status == 200
        assert await command.run_beside("list") == 0
        head, row = command.out.splitlines()
        assert head.split() == ["NAME", "SCOPE", "MADE", "EXPIRES", "LAST", "USE"]
        assert row.split()[:2] == ["phone", "read"]
        assert text not in command.out
        assert await command.run_beside("new", "boss", "--scope", "operator", "--json") == 0
        made = json.loads(command.out)
        assert made["closed_node"] is False
        assert made["link"].endswith(f"/#token={made['token']}")
        assert (await node.get("/api/tokens", bearer(made["token"]))).status == 200
        assert await command.run_beside("revoke", "phone") == 0
        assert command.out == "Revoked the token phone.\n"
        assert await command.run_beside("revoke", "boss") == 1
        assert command.err.endswith("confirm that the node shall be open: --yes")
        assert (await node.get("/info")).status == 401
        assert await command.run_beside("revoke", "boss", "--yes") == 0
        assert "the node is open again" in command.err
        assert (await node.get("/info")).status == 200
        assert await command.run_beside("revoke", "boss") == 1
        assert "There is no such token" in command.err


async def test_without_a_node_the_same_is_written_for_the_next_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Commands(tmp_path, capsys)
    assert await command.run_beside("list", "--json") == 0
    assert json.loads(command.out) == {"tokens": [], "open": True, "problems": []}
    assert not (tmp_path / "data").exists()
    assert await command.run_beside("new", "phone", "--scope", "submit") == 0
    phone = command.out.strip()
    assert "It is the first token" in command.err
    assert await command.run_beside("new", "old", "--scope", "submit") == 0
    old = command.out.strip()
    assert await command.run_beside("revoke", "old") == 0
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "echo", "url": url}]}
        async with running(tmp_path, document) as node:
            job = await node.job(headers=bearer(phone))
            await node.finished(job, bearer(phone))
            assert (await node.get("/info", bearer(old))).body["params"]["reason"] == "revoked"
    assert await command.run_beside("list", "--json") == 0
    (listed,) = json.loads(command.out)["tokens"]
    assert listed["last_used_at"] is not None
    assert await command.run_beside("revoke", "phone") == 1
    assert await command.run_beside("revoke", "phone", "--yes", "--json") == 0
    assert json.loads(command.out)["open"] is True
    assert await command.run_beside("new", "phone", "--scope", "submit") == 1
    assert "jobs of an earlier token phone" in command.err
    assert await command.run_beside("new", "phone", "--scope", "submit", "--keep-jobs") == 0
    async with running(tmp_path, document) as node:
        headers = bearer(command.out.strip())
        assert (await node.get(f"/api/jobs/{job}", headers)).status == 200


@pytest.mark.parametrize(("scope", "shown"), [("submit", True), ("metrics", False)])
def test_on_a_terminal_the_link_for_a_browser_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scope: str, shown: bool
) -> None:
    file = config_of(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(["token", "new", "phone", "--scope", scope, "--config", str(file)]) == 0
    out = capsys.readouterr().out
    token = out.splitlines()[0]
    assert out.count(token) == (2 if shown else 1)
    assert (f"/#token={token}\n" in out) == shown


def test_tokens_of_the_configuration_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {"token": f"{CONFIGURED}x", "scope": "metrics", "expires": "2026-11-02"}
    command = Commands(tmp_path, capsys, tokens={"bob": CONFIGURED, "prometheus": table})
    assert command.run("list") == 0
    _, bob, prometheus = (line.split() for line in command.out.splitlines())
    assert bob == ["bob", "submit", "server.tokens", "never", "none"]
    assert prometheus[:4] == ["prometheus", "(refused)", "metrics", "server.tokens"]
    assert prometheus[4:6] == ["2026-11-02", "00:00"]
    assert command.run("new", "bob", "--scope", "read") == 1
    assert "server.tokens" in command.err
    assert command.run("revoke", "bob", "--yes") == 1
    assert command.run("new", "eve", "--scope", "read") == 0
    assert "the first token" not in command.err
    assert CONFIGURED not in command.out + command.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("make",),
        ("new",),
        ("new", "phone"),
        ("new", "phone", "--scope", "admin"),
        ("new", "a b", "--scope", "read"),
        ("new", "", "--scope", "read"),
        ("new", "phone", "--scope", "read", "--expires", "soon"),
        ("revoke",),
    ],
)
def test_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as ended:
        Commands(tmp_path, capsys).run(*arguments)
    assert ended.value.code == 2
    assert not (tmp_path / "data").exists()


def test_a_date_in_the_past(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Commands(tmp_path, capsys)
    assert command.run("new", "phone", "--scope", "read", "--expires", "2020-01-01") == 1
    assert "expected a date in the future" in command.err
    assert command.out == ""


def test_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Commands(tmp_path, capsys)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE_NAME).write_text("{")
    assert command.run("list") == 0
    assert "Every token in it is refused" in " ".join(command.out.split())
    assert "the node is open" not in command.out
    for arguments in (("new", "phone", "--scope", "read"), ("revoke", "phone", "--yes")):
        assert command.run(*arguments) == 1
        assert "--replace-damaged" in command.err
    assert command.run("new", "phone", "--scope", "read", "--replace-damaged") == 0
    assert "the first token" not in command.err
    assert command.run("list", "--json") == 0
    assert json.loads(command.out)["problems"] == []


def test_a_node_that_cannot_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one whose path is too long for a socket: its file must not be changed beside it."""
    command = Commands(tmp_path, capsys)
    lock = FolderLock(tmp_path / "data")
    lock.acquire()
    assert command.run("new", "phone", "--scope", "read") == 1
    assert "This node runs already" in command.err
    (tmp_path / "data" / "infernet-edge.sqlite").touch()
    assert command.run("new", "phone", "--scope", "read") == 1
    assert "its control socket does not answer" in command.err
    lock.release()
    assert not (tmp_path / "data" / FILE_NAME).exists()


def test_a_damaged_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Commands(tmp_path, capsys)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "infernet-edge.sqlite").write_bytes(b"x" * 5000)
    assert command.run("new", "phone", "--scope", "read") == 1
    assert "The database cannot be read" in command.err
    assert command.run("new", "phone", "--scope", "read", "--keep-jobs") == 0


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 1), ("", 1)])
def test_on_a_terminal_it_asks_before_it_opens_the_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str, code: int
) -> None:
    command = Commands(tmp_path, capsys)
    assert command.run("new", "phone", "--scope", "read") == 0
    file = str(config_of(tmp_path))
    ended, output = on_a_terminal([f"{answer}\n"], "token", "revoke", "phone", "--config", file)
    assert ended == code, output
    assert "Open the node?" in output
    assert command.run("list", "--json") == 0
    assert json.loads(command.out)["open"] is (answer == "yes")


def test_a_killed_node_remembers_every_change_that_was_reported(tmp_path: Path) -> None:
    with NodeProcess({}, tmp_path) as node:

        def command(*arguments: str) -> str:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "infernet_edge", "token", *arguments),
                    *("--config", str(node.config_path)),
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            return done.stdout.strip()

        for number in range(4):
            text = command("new", f"t{number}", "--scope", "read")
            assert text not in node.log()
            if number % 2:
                node.kill()
                node.restart()
        command("revoke", "t1")
        node.kill()
        node.restart()
        listed = json.loads(command("list", "--json"))["tokens"]
        assert [each["name"] for each in listed] == ["t0", "t2", "t3"]
        assert "token.created" in node.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given away by root alone")
def test_what_root_writes_belongs_to_the_user_of_the_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 65534, 65534)
    assert Commands(tmp_path, capsys).run("new", "phone", "--scope", "read") == 0
    assert {file.stat().st_uid for file in data.iterdir()} == {65534}
