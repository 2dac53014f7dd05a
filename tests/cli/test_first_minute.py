"""The first minute of a newcomer: `init` on a terminal, `run`, the link in a browser."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.ports import free_port
from tests.support.process import ROOT
from tests.support.terminal import on_a_terminal

LINK = re.compile(r"^  (http://\S+/)#token=(\S+)$", re.M)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of a user without a configuration."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("INFERNET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


class Running:
    """`infernet-edge run` as a process; `printed` is what it printed, `log` its log."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infernet_edge", "run", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log, self._ready = "", threading.Event()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        assert self._ready.wait(30)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if "node.ready" in line:
                self._ready.set()
        self._ready.set()

    def stop(self) -> str:
        """Stop it; returns what it printed."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            text = printed.read()
        assert self.process.wait(30) == 0
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return text


@contextlib.contextmanager
def node(*arguments: str) -> Iterator[Running]:
    running = Running(*arguments)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(10)


def asked(url: str, token: str = "") -> tuple[int, Any]:
    """The status and the answer of GET."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # http
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, None


def everything_of(processes: Path = Path("/proc")) -> Iterator[bytes]:
    """Arguments and environments of all processes that this user may see."""
    for each in processes.glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                yield (each / name).read_bytes()


def test_the_link_of_init_opens_the_node_and_nothing_else_does(folder: Path) -> None:
    port = free_port()
    answers = [f"{port}\n", "yes\n", "\n", "http://127.0.0.1:9\n", "service\n"]
    code, screen = on_a_terminal(answers, "init")
    assert code == 0, screen
    found = LINK.search(screen)
    assert found is not None, screen
    url, token = found[1], found[2]
    assert urlsplit(url).port == port
    with node() as running:
        assert asked(f"{url}api/me") == (401, None)
        assert asked(f"{url}api/me", "iet_" + "x" * 32) == (401, None)
        assert asked(f"{url}api/containers") == (401, None)
        with urllib.request.urlopen(url, timeout=10) as page:  # the page has no secret
            assert page.headers["content-type"].startswith("text/html")
        code, me = asked(f"{url}api/me", token)
        assert (code, me["name"], me["scope"], me["open"]) == (200, "owner", "operator", False)
        assert not any(token.encode() in text for text in everything_of())
        printed = running.stop()
    assert f"  {url}\n" in printed
    assert "It asks for a token." in printed
    assert "#token" not in printed
    assert token not in printed + running.log
    assert max(map(len, printed.splitlines())) <= 80
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert len(files) >= 3
    assert not [each for each in files if token.encode() in each.read_bytes()]


def test_after_a_second_init_the_first_link_is_valid(folder: Path) -> None:
    port = str(free_port())
    flags = ["--port", port, "--host", "127.0.0.1", "--url", "http://127.0.0.1:9", "--id", "a"]
    code, screen = on_a_terminal(["\n"], "init", *flags)
    found = LINK.search(screen)
    assert (code, found is not None) == (0, True), screen
    assert found is not None
    code, screen = on_a_terminal([], "init", "--force", *flags)
    assert (code, LINK.search(screen)) == (0, None), screen
    with node() as running:
        assert asked(f"{found[1]}api/me", found[2])[0] == 200
        running.stop()


def test_without_a_configuration_it_is_open_and_says_how_to_protect_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    port = free_port()
    monkeypatch.setenv("INFERNET_EDGE_SERVER__PORT", str(port))
    url = f"http://127.0.0.1:{port}"
    with node() as running:
        code, me = asked(f"{url}/api/me")
        assert (code, me["open"], me["scope"]) == (200, True, "submit")
        # The line that it prints protects it, at once.
        made = subprocess.run(
            [
                sys.executable,
                "-m",
                "infernet_edge",
                *["token", "new", "owner", "--scope", "operator"],
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert asked(f"{url}/api/me")[0] == 401
        assert asked(f"{url}/api/me", made.stdout.strip())[0] == 200
        printed = running.stop()
    assert "  infernet-edge token new owner --scope operator\n" in printed
    assert re.search(rf"^  http://\S+:{port}/$", printed, re.M)
    assert max(map(len, printed.splitlines())) <= 80


def test_an_old_configuration_stays_as_it_was(folder: Path) -> None:
    """Open without tokens, also when it is named; those of server.tokens are not printed."""
    port = free_port()
    config: dict[str, Any] = {"server": {"host": "127.0.0.1", "port": port}}
    file = folder / "mine.json"
    file.write_text(json.dumps(config))
    with node("--config", "mine.json") as running:
        assert asked(f"http://127.0.0.1:{port}/api/me")[0] == 200
        printed = running.stop()
    assert printed.splitlines() == [
        "Open it in a browser on this machine:",
        f"  http://127.0.0.1:{port}/",
        "Everyone on this machine may use it. Protect it with a token:",
        "  infernet-edge token new owner --scope operator --config mine.json",
    ]
    config["server"]["tokens"] = {"bob": "0123456789abcdef"}
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    with node("--config", "mine.json") as running:
        assert asked(f"http://127.0.0.1:{port}/api/me")[0] == 401
        printed = running.stop()
    assert "It asks for a token." in printed
    assert "0123456789abcdef" not in printed + running.log


def test_a_service_prints_no_link(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Its log has the addresses."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "none"))
    monkeypatch.setenv("INFERNET_EDGE_SERVER__PORT", str(free_port()))
    with node() as running:
        assert running.stop() == ""
    assert "node.started" in running.log


def test_a_reader_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    port = free_port()
    monkeypatch.setenv("INFERNET_EDGE_SERVER__PORT", str(port))
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a device
        process = subprocess.Popen(
            [sys.executable, "-m", "infernet_edge", "run"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.stderr is not None
    with process.stderr as log:
        for line in log:
            if "node.ready" in line:
                process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
