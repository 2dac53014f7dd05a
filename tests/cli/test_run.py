"""`infernet-edge run`, as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, eventually
from tests.support.echo import EchoService
from tests.support.node import NodeProcess, free_port
from tests.support.process import ROOT


def test_it_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with NodeProcess({"redis": {"host": "x"}}, tmp_path / number.name) as node:
            assert node.process is not None
            node.process.send_signal(number)
            assert node.exit_code() == 0
            log = node.log()
            assert f"config.loaded source={node.config_path}" in log
            assert len(re.findall(r"INFO +config\.note text=\"redis is ignored", log)) == 1
            assert f"node.started url={node.url}" in log
            assert log.splitlines()[-1].endswith("node.stopped")
            assert "Traceback" not in log


def in_folder(folder: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start a command without --config, as a user does in a folder of theirs."""
    known = {name: text for name, text in os.environ.items() if not name.startswith("INFERNET_")}
    return subprocess.Popen(
        [sys.executable, "-m", "infernet_edge", *arguments],
        cwd=folder,
        env={**known, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder / "share"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ran(folder: Path, **env: str) -> str:
    """The log of `run` in a folder, from its start to its stop."""
    node = in_folder(folder, "run", **env)
    assert node.stdout is not None
    lines = []
    with node.stdout:
        for line in node.stdout:
            lines.append(line)
            if "node.ready" in line:
                node.send_signal(signal.SIGTERM)
    assert node.wait(30) == 0
    return "".join(lines)


def test_what_init_writes_is_found_by_check_and_run(tmp_path: Path) -> None:
    service = ("--url", "http://127.0.0.1:9", "--id", "service")
    api = ("--host", "127.0.0.1", "--port", str(free_port()))
    written, _ = in_folder(tmp_path, "init", "--yes", *service, *api).communicate(timeout=60)
    assert "infernet-edge run\n" in written
    checked, _ = in_folder(tmp_path, "check", "--strict").communicate(timeout=60)
    assert checked.startswith("config.toml: no errors\n")
    assert "  containers  service\n" in checked
    log = ran(tmp_path)
    assert "config.loaded source=config.toml" in log
    assert f"node.started url=http://127.0.0.1:{api[-1]}" in log
    assert "config.missing" not in log


def test_without_a_configuration_run_names_init(tmp_path: Path) -> None:
    env = {
        "INFERNET_EDGE_SERVER__HOST": "127.0.0.1",
        "INFERNET_EDGE_SERVER__PORT": str(free_port()),
    }
    log = ran(tmp_path, **env)
    assert re.search("WARNING config.missing text=.*infernet-edge init", log)
    containers = '[{"id": "service", "url": "http://127.0.0.1:9"}]'
    assert "config.missing" not in ran(tmp_path, **env, INFERNET_EDGE_CONTAINERS=containers)


def test_a_terminal_that_closes_stops_the_node(tmp_path: Path) -> None:
    """Properly, so that no container stays; what it says goes nowhere any more."""
    with NodeProcess({}, tmp_path) as node:
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        assert node.exit_code() == 0
        assert node.log().splitlines()[-1].endswith("node.stopped")
        assert not (node.data_path / "control.sock").exists()


def test_a_node_that_shall_outlive_its_terminal_does(tmp_path: Path) -> None:
    command = ("nohup", sys.executable, "-m", "infernet_edge")
    with NodeProcess({}, tmp_path, command=command, fresh=True) as node:
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert Api(node.port).health() == "healthy"


def has_reloaded(node: NodeProcess, times: int) -> bool:
    return node.log().count("node.reloaded") == times


def test_of_a_service_sighup_reads_the_certificate_again(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with NodeProcess({}, tmp_path, env=env) as node:
            assert node.process is not None
            for number in (1, 2):
                node.process.send_signal(signal.SIGHUP)
                eventually(partial(has_reloaded, node, number))
            assert Api(node.port).health() == "healthy"


def test_two_signals_do_not_break_the_stop(tmp_path: Path) -> None:
    with NodeProcess({}, tmp_path) as node:
        assert node.process is not None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            node.process.send_signal(number)
        assert node.exit_code() == 0
        assert "Traceback" not in node.log()


def calls(echo: EchoService) -> dict[str, int]:
    found: dict[str, int] = Api(int(echo.url.rpartition(":")[2])).get("/calls").json
    return found


def hanging(echo: EchoService) -> dict[str, Any]:
    return {"containers": [{"id": "hang", "url": f"{echo.url}/hang"}]}


def test_ctrl_c_says_what_is_waited_for_and_a_second_one_kills(tmp_path: Path) -> None:
    with EchoService(tmp_path) as echo, NodeProcess(hanging(echo), tmp_path / "node") as node:
        assert node.process is not None
        identifier = Api(node.port).submit("hang", {})
        eventually(lambda: calls(echo)["open"] == 1)
        node.process.send_signal(signal.SIGINT)
        eventually(lambda: "node.stopping" in node.log(), within=30)
        assert (
            'node.stopping jobs=1 containers=0 max_seconds=6 text="Ctrl+C again ends it at once"'
            in node.log()
        )
        time.sleep(0.6)  # a second signal that comes sooner is that of the one-file executable
        assert node.running
        node.process.send_signal(signal.SIGINT)
        assert node.exit_code(2) == -signal.SIGINT
        assert "WARNING node.aborted" in node.log()
        assert "Traceback" not in node.log()
        node.start()
        assert Api(node.port).results([identifier])[0]["status"] == "running"


def test_systemd_may_ask_again(tmp_path: Path) -> None:
    """Only Ctrl+C shows that a user is waiting."""
    with EchoService(tmp_path) as echo, NodeProcess(hanging(echo), tmp_path / "node") as node:
        assert node.process is not None
        Api(node.port).submit("hang", {})
        eventually(lambda: calls(echo)["open"] == 1)
        for _ in range(2):
            node.process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
        assert node.exit_code() == 0
        assert node.log().count("node.stopping") == 1
        assert "Ctrl+C" not in node.log()
        assert node.log().splitlines()[-1].endswith("node.stopped")


def ended(node: NodeProcess) -> int:
    """The exit code of a node that cannot start."""
    node.launch()
    return node.exit_code()


def test_errors_in_the_configuration_are_78(tmp_path: Path) -> None:
    node = NodeProcess({"server": {"port": 70000}, "jobs": {"max_pending": 0}}, tmp_path)
    assert ended(node) == 78
    log = node.log()
    assert f"{node.config_path}: 2 errors" in log
    assert "server.port: found 70000" in log
    assert "jobs.max_pending: found 0" in log
    assert not node.data_path.exists()


def test_a_start_that_is_impossible_is_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node = NodeProcess({"server": {"port": taken.getsockname()[1]}}, tmp_path)
        assert ended(node) == 1
    last = node.log().splitlines()[-1]
    assert last.startswith("infernet-edge: Cannot listen on 127.0.0.1 port")
    assert "server.port" in last
    assert "Traceback" not in node.log()


def test_a_second_run_of_the_same_node_is_1(tmp_path: Path) -> None:
    with NodeProcess({}, tmp_path) as node:
        second = in_folder(tmp_path, "run", "--config", str(node.config_path))
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        last = output.splitlines()[-1]
        assert last.startswith(
            f"infernet-edge: This node runs already (process {node.pid}, {node.url};"
        )
        assert "infernet-edge status" in last
        assert node.answers()


def test_a_log_file_that_cannot_be_written_is_1(tmp_path: Path) -> None:
    node = NodeProcess({"log": {"path": "/proc/nobody/makes/x.log"}}, tmp_path)
    assert ended(node) == 1
    assert "log.path" in node.log()


def test_the_environment_sets_things_too(tmp_path: Path) -> None:
    log = tmp_path / "json.log"
    env = {"INFERNET_EDGE_LOG__PATH": str(log), "JOURNAL_STREAM": "8:1"}
    with NodeProcess({}, tmp_path, env=env) as node:
        assert node.stop() == 0
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events[0] == "config.loaded"
    assert events[-1] == "node.stopped"
    assert "INFO    node.started" in node.log()  # stderr is a file now, and not the journal
    wrong = {"INFERNET_EDGE_SERVER__PORT": "x"}
    assert ended(NodeProcess({}, tmp_path / "wrong", env=wrong)) == 78


@pytest.mark.parametrize("arguments", [(), ("--verbose",)])
def test_verbose(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with NodeProcess({}, tmp_path) as node:
        node.stop()
        node.command += arguments
        node.start()
        with socket.create_connection(("127.0.0.1", node.port)) as client:
            client.sendall(
                b"POST /api/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n"
            )
            time.sleep(0.1)
        deadline = time.monotonic() + 5
        while arguments and "request.abandoned" not in node.log() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ("DEBUG   request.abandoned" in node.log()) is bool(arguments)
