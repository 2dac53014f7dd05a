"""Stops and crashes: every acknowledged job goes on and ends, none is lost, none runs for ever."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import random
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, connected, eventually, post
from tests.support.echo import EchoService
from tests.support.hurried import hurried
from tests.support.node import NodeProcess
from tests.support.scripted import Call, Gate, ScriptedService

STOPPED = "The node stopped while the job was"


def gated(service: ScriptedService, **jobs: Any) -> dict[str, Any]:
    containers = [{"id": "gate", "url": service.url, "max_concurrency": 4}]
    return {"containers": containers, "jobs": jobs}


class Load:
    """Clients that send jobs of all kinds all the time and note what was acknowledged."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.acknowledged: list[str] = []
        self.streams: list[str] = []
        self._api = Api(port, timeout=20)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for_more(self) -> None:
        """Wait until one more job has been acknowledged."""
        known = len(self.acknowledged)
        eventually(lambda: len(self.acknowledged) > known)

    def _run(self, number: int) -> None:
        job = {"containers": ["echo"], "data": {"client": number, "text": "x" * 300}}
        chain = {**job, "containers": ["echo", "echo", "echo"]}
        while not self._stop.is_set():
            try:
                self._send([job, chain], "/api/jobs/batch")
                self._send(job, "/api/jobs")
                self._stream(job)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)  # the node is not there just now

    def _send(self, body: Any, path: str) -> None:
        reply = self._api.post(body, path)
        if reply.status == 200:
            answers = reply.json if isinstance(reply.json, list) else [reply.json]
            self.acknowledged += [answer["id"] for answer in answers if "id" in answer]
        else:
            assert reply.status == 503, reply

    def _stream(self, job: Any) -> None:
        with connected(self._api.port, 5) as connection:
            connection.sendall(post("/api/jobs/stream", json.dumps(job).encode()))
            received = b""
            while received.count(b"\n") < 20:
                part = connection.recv(4096)
                if not part:
                    return
                received += part
                _, identifier, rest = received.partition(b"\r\n\r\n25\r\n")
                if identifier and len(rest) > 36:
                    self.streams.append(rest[:36].decode())
                    return  # and leave in mid-stream


def verify(load: Load, api: Api) -> None:
    """All that was acknowledged has ended, and it ended well unless it was a stream."""
    assert load.acknowledged
    results = api.finished(load.acknowledged, within=90)
    assert {each["status"] for each in results} == {"success"}
    assert all(each["result"]["container"] == "echo" for each in results)
    streams = api.finished(load.streams)
    assert {each["status"] for each in streams} <= {"success", "failed"}
    eventually(lambda: not api.running(), within=60)
    assert api.get("/info").json["pending"] == {"offchain": 0, "onchain": 0}


def test_kill_9_at_any_moment_loses_nothing(echo: EchoService, tmp_path: Path) -> None:
    chance = random.Random(20260101)
    config = {"containers": [{"id": "echo", "url": echo.url}], "jobs": {"max_attempts": 1000}}
    with NodeProcess(config, tmp_path) as node:
        with Load(node.port) as load:
            for _ in range(10):
                load.wait_for_more()
                time.sleep(chance.uniform(0, 0.4))
                node.kill()
                node.start()
        verify(load, Api(node.port))
        assert load.streams
        assert "corrupt" not in node.log()
        assert "Traceback" not in node.log()


def test_sigterm_at_any_moment_loses_nothing(echo: EchoService, tmp_path: Path) -> None:
    """Not even an attempt: a proper stop is not held against the jobs that it interrupts."""
    chance = random.Random(20260102)
    config = {"containers": [{"id": "echo", "url": echo.url}], "jobs": {"max_attempts": 1}}
    with NodeProcess(config, tmp_path) as node:
        with Load(node.port) as load:
            for _ in range(5):
                load.wait_for_more()
                time.sleep(chance.uniform(0, 0.4))
                assert node.stop() == 0
                node.start()
        verify(load, Api(node.port))
        assert "Traceback" not in node.log()


def test_kill_9_in_the_start_loses_nothing(echo: EchoService, tmp_path: Path) -> None:
    chance = random.Random(20260103)
    config = {"containers": [{"id": "echo", "url": echo.url}], "jobs": {"max_attempts": 1000}}
    node = NodeProcess(config, tmp_path)
    with node:
        batch = [{"containers": ["echo", "echo"], "data": {"n": n}} for n in range(2000)]
        answers = Api(node.port).post(batch, "/api/jobs/batch").json
        node.kill()
    for _ in range(8):
        node.launch()
        time.sleep(chance.uniform(0.1, 0.7))
        node.kill()
    with node:
        results = Api(node.port).finished([each["id"] for each in answers], within=90)
        numbers = [each["result"]["output"]["output"]["output"]["n"] for each in results]
    assert numbers == list(range(2000))


def test_a_batch_of_10000_that_is_killed_is_there_as_a_whole_or_not_at_all(
    echo: EchoService, tmp_path: Path
) -> None:
    chance = random.Random(20260104)
    config = {"containers": [{"id": "echo", "url": echo.url}]}
    batch = json.dumps([{"containers": ["echo"], "data": {}}] * 10_000).encode()
    with NodeProcess(config, tmp_path) as node:
        for round_ in range(3):
            with connected(node.port) as connection:
                connection.sendall(post("/api/jobs/batch", batch))
                time.sleep(chance.uniform(0, 0.5))
                node.kill()
                answered = b"200 OK" in _rest(connection)
            node.start()
            api = Api(node.port)
            count = len(api.get("/api/jobs").json)
            assert count in ((10_000,) if answered else (0, 10_000)), round_
            if count:
                eventually(lambda: not Api(node.port).running(), within=90)
                break


def _rest(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received


def test_jobs_that_were_interrupted_run_again(tmp_path: Path) -> None:
    gate = Gate()
    with ScriptedService(gate) as service, NodeProcess(gated(service), tmp_path) as node:
        api = Api(node.port)
        identifiers = [api.submit("gate", {"n": number}) for number in range(20)]
        service.wait_for_calls(4)
        node.kill()
        node.start()
        assert len(api.running()) == 20
        gate.opened.set()
        results = api.finished(identifiers)
    assert [each["result"]["output"]["n"] for each in results] == list(range(20))


def test_a_chain_that_was_interrupted_begins_anew(echo: EchoService, tmp_path: Path) -> None:
    gate = Gate()
    with ScriptedService(gate) as service:
        config = gated(service)
        config["containers"].append({"id": "echo", "url": echo.url})
        with NodeProcess(config, tmp_path) as node:
            api = Api(node.port)
            identifier = api.submit(["echo", "gate", "echo"], {"n": 1})
            service.wait_for_calls(1)
            node.kill()
            node.start()
            gate.opened.set()
            [result] = api.finished([identifier], intermediate=True)
    assert result["status"] == "success"
    first = {"output": {"n": 1}, "echo": True}
    assert result["intermediate_results"] == [
        {"container": "echo", "output": first},
        {"container": "gate", "output": first},
    ]
    assert result["result"]["output"] == {"output": first, "echo": True}


def test_with_on_restart_fail_nothing_that_began_runs_twice(tmp_path: Path) -> None:
    gate = Gate()
    with ScriptedService(gate) as service:
        config = gated(service, on_restart="fail")
        with NodeProcess(config, tmp_path) as node:
            api = Api(node.port)
            identifiers = [api.submit("gate", {"n": number}) for number in range(20)]
            service.wait_for_calls(4)
            begun = {call.data["n"] for call in service.calls}
            node.kill()
            node.start()
            gate.opened.set()
            results = api.finished(identifiers)
    for number, result in enumerate(results):
        if number in begun:
            assert result["status"] == "failed"
            assert result["result"]["error"].startswith(STOPPED)
        else:  # its turn had not come
            assert (result["status"], result["result"]["output"]) == ("success", {"n": number})
    assert sorted(call.data["n"] for call in service.calls) == list(range(20))


def test_a_job_that_takes_the_node_down_is_given_up_after_max_attempts(tmp_path: Path) -> None:
    """And those behind it, which did not begin, are not."""
    gate = Gate()
    with ScriptedService(gate) as service:
        config = gated(service, max_attempts=3)
        config["containers"][0]["max_concurrency"] = 1
        with NodeProcess(config, tmp_path) as node:
            api = Api(node.port)
            guilty, innocent = api.submit("gate", {"n": 0}), api.submit("gate", {"n": 1})
            for attempt in range(1, 4):
                service.wait_for_calls(attempt)
                # Starts are counted a moment later, and those of short jobs never.
                eventually(functools.partial(_has_attempts, node, attempt))
                assert [each["status"] for each in api.results([guilty])] == ["running"]
                node.kill()
                node.start()
            [failed] = api.finished([guilty])
            gate.opened.set()
            assert api.finished([innocent])[0]["status"] == "success"
    assert failed["status"] == "failed"
    assert failed["result"]["container"] == "gate"
    assert failed["result"]["error"].startswith(STOPPED)
    assert "3 times" in failed["result"]["error"]
    assert [call.data["n"] for call in service.calls] == [0, 0, 0, 1]


def _has_attempts(node: NodeProcess, count: int) -> bool:
    """Whether so many attempts of a job are on the disk."""
    file = node.data_path / "infernet-edge.sqlite"
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    try:
        return bool(connection.execute("SELECT max(attempts) FROM jobs").fetchone()[0] == count)
    finally:
        connection.close()


def test_jobs_of_a_container_that_is_gone_after_the_restart_fail(
    echo: EchoService, tmp_path: Path
) -> None:
    gate = Gate()
    with ScriptedService(gate) as service:
        config = gated(service)
        config["containers"].append({"id": "echo", "url": echo.url})
        with NodeProcess(config, tmp_path) as node:
            api = Api(node.port)
            lost, chain = api.submit("gate"), api.submit(["echo", "gate"])
            service.wait_for_calls(2)
            node.kill()
            del node.config["containers"][0]
            node.start()
            for result in api.finished([lost, chain]):
                assert result["status"] == "failed"
                assert "no longer configured" in result["result"]["error"]


def test_a_stream_that_the_node_left_behind_has_failed(tmp_path: Path) -> None:
    def script(call: Call) -> None:
        call.begin()
        call.chunk(b"first")
        call.wait_until_gone()

    with ScriptedService(script) as service, NodeProcess(gated(service), tmp_path) as node:
        api = Api(node.port)
        with _streaming(node):
            node.kill()
        node.start()
        [result] = api.finished(api.get("/api/jobs").json)
        assert result["status"] == "failed"
        assert result["result"] == {"container": "gate", "error": STOPPED + " streaming"}
        assert len(service.calls) == 1


@contextlib.contextmanager
def _streaming(node: NodeProcess) -> Any:
    """A client in the middle of a stream, which has said "first"; gives its connection."""
    with connected(node.port) as connection:
        body = b'{"containers":["gate"],"data":{}}'
        connection.sendall(post("/api/jobs/stream", body))
        received = b""
        while b"first" not in received:
            part = connection.recv(65536)
            assert part, received
            received += part
        yield connection


def test_sigterm_in_mid_stream_keeps_what_had_arrived(tmp_path: Path) -> None:
    def script(call: Call) -> None:
        call.begin()
        call.chunk(b"first")
        call.wait_until_gone()

    with (
        ScriptedService(script) as service,
        NodeProcess(gated(service), tmp_path, command=hurried()) as node,
    ):
        api = Api(node.port)
        with _streaming(node) as connection:
            assert node.stop() == 0
            # Without its last chunk the client can tell that it is incomplete.
            assert b"0\r\n\r\n" not in _rest(connection)
        assert service.calls[0].gone.wait(20)
        node.start()
        [result] = api.finished(api.get("/api/jobs").json, intermediate=True)
        assert result["status"] == "failed"
        assert result["result"]["error"].startswith(STOPPED)
        [kept] = result["intermediate_results"]
        assert kept == {"container": "gate", "output": {"output": "first"}}
        assert "Traceback" not in node.log()


def test_sigterm_lets_jobs_in_flight_finish(tmp_path: Path) -> None:
    """And takes nothing new meanwhile."""
    gate = Gate()
    with ScriptedService(gate) as service, NodeProcess(gated(service), tmp_path) as node:
        api = Api(node.port)
        identifiers = [api.submit("gate", {"n": number}) for number in range(10)]
        service.wait_for_calls(4)
        with connected(node.port) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(65536)
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
            eventually(lambda: not _accepts(node.port))
            connection.sendall(post("/api/jobs", b'{"containers":["gate"],"data":{}}'))
            answer = _rest(connection)
            assert not answer or answer.startswith(b"HTTP/1.1 503 ")
        gate.opened.set()
        assert node.exit_code() == 0
        assert len(service.calls) == 4  # those that waited in line wait on
        node.start()
        results = api.finished(identifiers)
        assert [each["result"]["output"]["n"] for each in results] == list(range(10))
        assert len(api.get("/api/jobs").json) == 10
    assert sorted(call.data["n"] for call in service.calls) == list(range(10))


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_hanging_container_does_not_keep_the_node_from_stopping(
    tmp_path: Path, number: signal.Signals
) -> None:
    gate = Gate()
    with (
        ScriptedService(gate) as service,
        NodeProcess(gated(service), tmp_path, command=hurried()) as node,
    ):
        api = Api(node.port)
        identifier = api.submit("gate", {"n": 7})
        service.wait_for_calls(1)
        assert node.process is not None
        for _ in range(3):  # whoever is impatient changes nothing
            node.process.send_signal(number)
            time.sleep(0.05)
        assert node.exit_code(20) == 0
        assert "Traceback" not in node.log()
        node.start()
        gate.opened.set()
        [result] = api.finished([identifier])
        assert result["result"]["output"] == {"n": 7}


def test_many_proper_stops_are_no_attempts(tmp_path: Path) -> None:
    gate = Gate()
    with ScriptedService(gate) as service:
        config = gated(service, max_attempts=1)
        with NodeProcess(
            config, tmp_path, command=hurried({"jobs.orchestrator._GRACE": 0.1})
        ) as node:
            api = Api(node.port)
            identifier = api.submit("gate", {"n": 1})
            for calls in range(1, 4):
                service.wait_for_calls(calls)
                time.sleep(0.3)
                assert node.stop() == 0
                node.start()
            gate.opened.set()
            assert api.finished([identifier])[0]["status"] == "success"
