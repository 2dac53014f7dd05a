"""Starts that cannot succeed say why and what to do; others cope with what they find."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, eventually
from tests.support.disks import immutable, read_only_mount
from tests.support.echo import EchoService
from tests.support.hurried import hurried
from tests.support.node import NodeProcess
from tests.support.process import ROOT

FILE = "infernet-edge.sqlite"


def refusal(node: NodeProcess, code: int = 1) -> str:
    """What a node says that has to end at once with this exit code."""
    node.launch()
    assert node.exit_code() == code, node.log()
    assert "Traceback" not in node.log()
    return node.log()


@pytest.fixture
def config(echo: EchoService) -> dict[str, Any]:
    return {"containers": [{"id": "echo", "url": echo.url}]}


def works(node: NodeProcess) -> bool:
    api = Api(node.port)
    return bool(api.finished([api.submit("echo")])[0]["status"] == "success")


# Configuration.


def test_all_mistakes_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    same = {"id": "echo", "url": "http://127.0.0.1:1"}
    mistakes = {
        "server": {"port": "many", "max_body_bytes": -1, "trusted_proxies": ["nowhere"]},
        "containers": [same, {"url": "http://x"}, {**same, "timeout": 0}],
        "jobs": {"on_restart": "perhaps"},
    }
    node = NodeProcess({}, tmp_path)
    node.config |= mistakes
    log = refusal(node, 78)
    for path in (
        "server.port",
        "server.max_body_bytes",
        "server.trusted_proxies[0]",
        "containers[1].id",
        "containers[2].timeout",
        "jobs.on_restart",
    ):
        assert path in log, (path, log)
    assert not node.data_path.exists()


def test_two_containers_with_one_id_are_a_mistake(config: dict[str, Any], tmp_path: Path) -> None:
    config["containers"] *= 2
    log = refusal(NodeProcess(config, tmp_path), 78)
    assert "containers[1].id" in log
    assert "containers[0]" in log


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"nonsense", b"\xff\xfe\x00", b'{"a":' * 10_000 + b"1" + b"}" * 10_000],
    ids=["empty", "truncated", "list", "words", "binary", "deep"],
)
def test_a_configuration_that_cannot_be_read_is_78(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    done = run("run", "--config", str(path))
    assert done.returncode == 78, done.stderr
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there_is_78(tmp_path: Path) -> None:
    done = run("run", "--config", str(tmp_path / "none.json"))
    assert done.returncode == 78
    assert "none.json" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("run", "--config", str(tmp_path))
    assert done.returncode == 78
    assert "Traceback" not in done.stderr


def test_secrets_are_not_shown_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    secret = "s3cret-s3cret-s3cret"
    document = {
        "server": {"tokens": {"anna": secret[:9]}},
        "chain": {"enabled": True, "wallet": {"private_key": secret}},
        "containers": [{"id": "a", "url": "http://x", "bearer": [secret], "env": {"K": [secret]}}],
    }
    path.write_text(json.dumps(document))
    done = run("run", "--config", str(path))
    assert done.returncode == 78
    assert secret[:9] not in done.stdout + done.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INFERNET_")}
    return subprocess.run(
        [sys.executable, "-m", "infernet_edge", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# The port.


def test_a_port_in_use_is_told_and_nothing_is_begun(config: dict[str, Any], tmp_path: Path) -> None:
    node = NodeProcess(config, tmp_path)
    with socket.create_server(("127.0.0.1", node.port)):
        log = refusal(node)
    assert f"port {node.port}" in log
    assert "server.port" in log
    assert not (node.data_path / FILE).exists()
    with node:
        assert works(node)


def test_an_address_that_is_not_ours_is_told(config: dict[str, Any], tmp_path: Path) -> None:
    node = NodeProcess({**config, "server": {"host": "192.0.2.1"}}, tmp_path)
    assert "192.0.2.1" in refusal(node)


# The folder.


def test_a_second_node_on_the_same_storage_is_refused(
    config: dict[str, Any], tmp_path: Path
) -> None:
    with NodeProcess(config, tmp_path / "one") as one:
        storage = {"path": str(one.data_path)}
        two = NodeProcess({**config, "storage": storage}, tmp_path / "two")
        log = refusal(two)
        assert str(one.data_path) in log
        assert "storage.path" in log
        assert works(one)
        one.kill()
        with two:  # a dead node holds nothing
            assert works(two)


@pytest.mark.parametrize("what", ["file", "loop", "missing device"])
def test_a_folder_that_cannot_be_is_told(config: dict[str, Any], tmp_path: Path, what: str) -> None:
    path = tmp_path / "folder"
    if what == "file":
        path.write_text("")
    elif what == "loop":
        path.symlink_to(path)
    else:
        path = Path("/proc/nothing/here")
    node = NodeProcess({**config, "storage": {"path": str(path)}}, tmp_path / "node")
    log = refusal(node, 1 if what == "missing device" else 78)
    assert str(path) in log
    assert "storage.path" in log


def test_a_read_only_disk_is_told(config: dict[str, Any], tmp_path: Path) -> None:
    node = NodeProcess(config, tmp_path)
    with node:
        identifier = Api(node.port).submit("echo")
    with read_only_mount(node.data_path):
        log = refusal(node)
        assert str(node.data_path) in log
        assert "writable" in log
    with node:
        assert Api(node.port).finished([identifier])[0]["status"] == "success"


def test_a_read_only_file_is_told(config: dict[str, Any], tmp_path: Path) -> None:
    node = NodeProcess(config, tmp_path)
    with node:
        identifier = Api(node.port).submit("echo")
    with immutable(node.data_path / FILE):
        log = refusal(node)
        assert FILE in log
        assert "writable" in log
    with node:
        assert Api(node.port).finished([identifier])[0]["status"] == "success"


# The file.


def _overwrite(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "all of it": lambda path: _overwrite(path, 0, b"nonsense" * 2000),
    "its head": lambda path: _overwrite(path, 0, b"\0" * 100),
    "the page of tables": lambda path: _overwrite(path, 100, b"\xff" * 3000),
    "pages after it": lambda path: _overwrite(path, 4096, b"\xa5" * (path.stat().st_size - 4096)),
    "its end": _truncate,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_corrupt_file_is_kept_aside_and_the_node_starts(
    config: dict[str, Any], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    node = NodeProcess(config, tmp_path)
    with node:
        api = Api(node.port)
        body = [{"containers": ["echo"], "data": {"a": "x" * 500}}] * 100
        identifiers = [each["id"] for each in api.post(body, "/api/jobs/batch").json]
        api.finished(identifiers)
    file = node.data_path / FILE
    damage(file)
    broken = file.read_bytes()
    with node:
        assert works(node)
        [kept] = node.data_path.glob(f"{FILE}.corrupt-*")
        assert kept.read_bytes()[100:] == broken[100:]  # SQLite counts openings in its head
        assert kept.name in node.log()
    with node:  # the new one is whole
        assert works(node)
    assert len(list(node.data_path.glob(f"{FILE}.corrupt-*"))) == 1


def test_a_corrupt_journal_beside_the_file_loses_no_more_than_itself(
    config: dict[str, Any], tmp_path: Path
) -> None:
    node = NodeProcess(config, tmp_path)
    with node:
        first = Api(node.port).submit("echo")
        Api(node.port).finished([first])
    with node:
        Api(node.port).submit("echo")
        node.kill()
    journal = node.data_path / f"{FILE}-wal"
    assert journal.stat().st_size > 0
    journal.write_bytes(os.urandom(journal.stat().st_size))
    with node:
        assert Api(node.port).finished([first])[0]["status"] == "success"
        assert works(node)


def test_a_file_that_is_damaged_under_a_running_node_does_not_end_it(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """Jobs may be lost with the file, but the node starts again by itself with a new one."""
    node = NodeProcess(config, tmp_path, command=hurried())
    with node:
        api = Api(node.port)
        body = [{"containers": ["echo"], "data": {"a": "x" * 5000}}] * 1000
        assert api.post(body, "/api/jobs/batch").status == 200
        eventually(lambda: not api.running())
        file = node.data_path / FILE
        _overwrite(file, 0, b"\xa5" * file.stat().st_size)
        for _ in range(20):
            with contextlib.suppress(OSError, http.client.HTTPException):  # while it starts again
                assert api.post(body[:100], "/api/jobs/batch").status in (200, 503)
                assert api.get("/api/jobs").status in (200, 503)
                assert api.get("/info").status == 200
                assert api.get("/health").status == 200
        eventually(lambda: node.log().count("node.started") == 2)
        assert works(node)
        assert "database.salvaged" in node.log()
        assert node.stop() == 0
        assert "Traceback" not in node.log()
        node.start()
        assert works(node)


def test_an_empty_file_is_a_new_one(config: dict[str, Any], tmp_path: Path) -> None:
    node = NodeProcess(config, tmp_path)
    node.data_path.mkdir()
    (node.data_path / FILE).touch()
    with node:
        assert works(node)


def test_a_file_of_a_newer_version_is_left_alone(config: dict[str, Any], tmp_path: Path) -> None:
    node = NodeProcess(config, tmp_path)
    with node:
        assert works(node)
    with sqlite3.connect(node.data_path / FILE) as connection:
        connection.execute(
            "UPDATE schema_versions SET version = 9999, readable_since = 9999 WHERE owner = 'jobs'"
        )
    connection.close()
    before = (node.data_path / FILE).read_bytes()
    assert "newer" in refusal(node)
    assert (node.data_path / FILE).read_bytes()[100:] == before[100:]
    assert not list(node.data_path.glob("*corrupt*"))


def test_a_file_of_another_program_is_left_alone(config: dict[str, Any], tmp_path: Path) -> None:
    node = NodeProcess(config, tmp_path)
    node.data_path.mkdir()
    with sqlite3.connect(node.data_path / FILE) as connection:
        connection.execute("CREATE TABLE jobs (other TEXT)")
        connection.execute("INSERT INTO jobs VALUES ('precious')")
    connection.close()
    assert FILE in refusal(node)
    with sqlite3.connect(node.data_path / FILE) as connection:
        assert connection.execute("SELECT other FROM jobs").fetchall() == [("precious",)]
    connection.close()


# The end.


def test_an_idle_node_stops_at_once(config: dict[str, Any], tmp_path: Path) -> None:
    with NodeProcess(config, tmp_path) as node:
        assert works(node)
        # An idle connection does not hold it back. The promise is 2 s; machines may be busy.
        with socket.create_connection(("127.0.0.1", node.port)):
            assert node.stop(timeout=8) == 0
        assert "Traceback" not in node.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_the_start_is_clean(
    config: dict[str, Any], tmp_path: Path, number: signal.Signals
) -> None:
    """The signal comes as soon as the folder is there, which is before the node listens."""
    node = NodeProcess(config, tmp_path)
    node.launch()
    eventually((node.data_path / "lock").exists)
    assert node.process is not None
    node.process.send_signal(number)
    assert node.exit_code() == 0, node.log()
    assert "Traceback" not in node.log()
    with node:
        assert works(node)
