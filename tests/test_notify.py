"""What the node reports to systemd, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infernet_edge.notify import Notifier, watchdog_seconds
from tests.support.client import Api
from tests.support.node import NodeProcess


class Listener:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)

    def next(self, timeout: float) -> str:
        """The next message; raises TimeoutError when there is none."""
        self._socket.settimeout(timeout)
        return self._socket.recv(4096).decode()

    def received(self, timeout: float = 0.2) -> list[str]:
        """All messages until there is none for `timeout` seconds."""
        messages = []
        try:
            while True:
                messages.append(self.next(timeout))
        except TimeoutError:
            return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    name = f"@infernet-edge-test-{os.getpid()}"
    listener = Listener(name if request.param == "abstract" else str(tmp_path / "notify"))
    yield listener
    listener.close()


async def test_ready_and_stopping(listener: Listener) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": listener.address})
    assert not notifier.watched
    notifier.ready("Serving\nat home")
    notifier.stopping()
    await notifier.close()
    assert listener.received() == [
        "READY=1\nSTATUS=Serving at home",
        "STOPPING=1\nSTATUS=Stopping",
    ]


async def test_the_watchdog_is_notified_twice_in_its_time_while_the_loop_runs(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: asyncio.Queue[float] = asyncio.Queue()
    end_of_pause = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await end_of_pause.acquire()

    environment = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "200000"}
    notifier = Notifier.of(environment)
    assert notifier.watched
    with monkeypatch.context() as patch:
        patch.setattr("infernet_edge.notify.asyncio.sleep", sleep)
        notifier.ready("x")
        assert listener.received(0.01)[1:] == []  # it needs the loop
        for _ in range(3):
            assert await pauses.get() == 0.1
            assert listener.received(0.01) == ["WATCHDOG=1"]
            end_of_pause.release()
        await notifier.close()
    assert listener.received(0.01) == []


async def test_without_a_socket_nothing_is_sent() -> None:
    notifier = Notifier.of({"WATCHDOG_USEC": "1000"})
    assert not notifier.watched
    notifier.ready("x")
    notifier.stopping()
    await notifier.close()


async def test_a_socket_that_is_gone_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("infernet_edge"), "propagate", True)
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.ready("x")
    assert [record.getMessage() for record in caplog.records] == ["systemd.notify_failed"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "many"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_which_process_the_watchdog_watches(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environment) == seconds


def test_the_one_file_executable_is_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    environment = {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getppid())}
    assert watchdog_seconds(environment) == 2.0


def test_a_node_reports_that_it_is_ready_when_it_answers(tmp_path: Path) -> None:
    listener = Listener(str(tmp_path / "notify"))
    env = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "400000"}
    node = NodeProcess({}, tmp_path, env=env)
    node.launch()
    assert listener.next(20) == f"READY=1\nSTATUS=Serving at {node.url}"
    assert node.answers()
    assert [listener.next(20) for _ in range(4)] == ["WATCHDOG=1"] * 4
    assert node.stop() == 0
    assert "STOPPING=1\nSTATUS=Stopping" in listener.received()
    listener.close()


def test_a_long_start_is_reported(listener: Listener, tmp_path: Path) -> None:
    """Saving the rows of a large damaged database takes longer than systemd waits."""
    environment = {"NOTIFY_SOCKET": listener.address}
    node = NodeProcess({}, tmp_path, env=environment)
    with node:
        for _ in range(3):
            Api(node.port).request(
                "PUT", "/api/status", {"id": "x", "status": "running", "containers": []}
            )
    listener.received()
    path = node.data_path / "infernet-edge.sqlite"
    content = bytearray(path.read_bytes())
    content[2 * 4096 : 3 * 4096] = bytes(4096)
    path.write_bytes(content)
    with node:
        received = "\n".join(listener.received())
    assert "database.quarantined" in node.log()
    assert "database.salvaged" in node.log()
    assert "EXTEND_TIMEOUT_USEC=60000000" in received
    assert "rows of a damaged database" in received
