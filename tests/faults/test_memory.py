"""Clients and containers that send and keep as much as they can, against little memory."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.client import Api, connected, eventually, head, post
from tests.support.disks import no_more_than
from tests.support.echo import EchoService
from tests.support.evm import NODE
from tests.support.hurried import with_values
from tests.support.node import NodeProcess
from tests.support.podman import need
from tests.support.ports import free_port
from tests.support.signed import COORDINATOR, signed_v0

pytestmark = pytest.mark.xdist_group("memory")  # its node is started once

MIB = 2**20
LIMIT = 64 * MIB  # what the node takes by itself where it may use 256 MiB
MOST = 200 * MIB
LEFT = 24 * MIB
LARGE = 15 * MIB
LOOKS_OFTEN = with_values({"jobs.housekeeping._PERIOD": 1.0})
HEALTH_WITHIN = 3.0  # seconds; one beside an idle machine


class Watched:
    """A node, its memory, and a client that asks for its health meanwhile."""

    def __init__(self, process: NodeProcess, api: Api | None = None) -> None:
        self.process = process
        self.api = api or Api(process.port)
        self.port = process.port
        self._process = psutil.Process(process.pid)
        self._warm_up()
        self.at_start = self.rss

    def _warm_up(self) -> None:
        ids = [self.api.submit("echo", {"n": number}) for number in range(200)]
        self.api.finished(ids)
        self.api.stream("echo")

    @property
    def rss(self) -> int:
        return int(self._process.memory_info().rss)

    @property
    def peak(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    @contextlib.contextmanager
    def attacked(self) -> Iterator[None]:
        """Within the block the node stays healthy and small; after it, it is as small as before."""
        over, slowest = threading.Event(), [0.0]
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # proc(5): counts peaks anew

        def ask() -> None:
            while not over.is_set():
                begin = time.perf_counter()
                reply = self.api.get("/health")
                slowest[0] = max(slowest[0], time.perf_counter() - begin)
                assert reply.status == 200
                over.wait(0.05)

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask)
            try:
                yield
            finally:
                over.set()
                asking.result()
        peak = self.peak
        start = self.at_start
        print(f"peak {peak / MIB:.0f}, health {slowest[0]:.2f}, start {start / MIB:.0f}")
        assert peak <= MOST, f"{peak / MIB:.0f} MiB"
        assert slowest[0] <= HEALTH_WITHIN
        until = time.monotonic() + 30
        while self.rss > self.at_start + LEFT and time.monotonic() < until:
            time.sleep(0.1)
        assert self.rss <= self.at_start + LEFT, f"{self.rss / MIB:.0f} MiB are left"
        print(f"afterwards {self.rss / MIB:.0f} MiB")


@pytest.fixture(scope="module")
def node(echo: EchoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    config = {
        "server": {"max_held_bytes": LIMIT},
        "containers": [
            {"id": "echo", "url": echo.url},
            {"id": "huge", "url": f"{echo.url}/huge"},
        ],
    }
    with NodeProcess(
        config, tmp_path_factory.mktemp("node"), fresh=True, command=LOOKS_OFTEN
    ) as process:
        yield Watched(process)
        assert "Traceback" not in process.log()


def large(number: int = 0) -> dict[str, Any]:
    return {"n": number, "text": "x" * LARGE}


def at_once(count: int, work: Any, jobs: int) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(jobs)))


def ended(api: Api, ids: list[str]) -> None:
    """Wait for the end of jobs without asking for their results."""
    eventually(lambda: not set(api.running()) & set(ids), within=240)


def submit_until_accepted(api: Api, containers: list[str], data: Any) -> str:
    """Post a job again while the node says 503, as clients should."""
    body = json.dumps({"containers": containers, "data": data}).encode()
    until = time.monotonic() + 120
    while time.monotonic() < until:
        reply = api.post(body)
        if reply.status == 200:
            return str(reply.json["id"])
        assert reply.status == 503, reply
        assert int(reply.headers["retry-after"]) >= 1
        time.sleep(0.1)
    raise TimeoutError


def test_results_that_are_not_read(node: Watched) -> None:
    ids = [submit_until_accepted(node.api, ["echo"], large(number)) for number in range(2)]
    node.api.finished(ids)
    request = head("GET", f"/api/jobs?id={ids[0]}&id={ids[1]}")
    with node.attacked(), contextlib.ExitStack() as stack:
        for _ in range(58):
            stack.enter_context(connected(node.port)).sendall(request)
        time.sleep(2)
        assert len(node.api.results(ids)) == 2  # others are served


def test_answers_of_containers_that_are_too_large(node: Watched) -> None:
    with node.attacked():
        ids = [node.api.submit("huge", {"bytes": 40 * MIB}) for _ in range(200)]
        results = node.api.finished(ids, within=120)
    assert {result["status"] for result in results} == {"failed"}
    assert "larger than" in results[0]["result"]["error"]


def test_a_chain_whose_outputs_are_large(node: Watched) -> None:
    with node.attacked():
        identifier = submit_until_accepted(node.api, ["echo"] * 64, large())
        (result,) = node.api.finished([identifier], within=120)
        assert result["status"] == "failed"
        assert "together" in result["result"]["error"]
        (result,) = node.api.results([identifier], intermediate=True)
        assert len(result["intermediate_results"]) == 4


def test_chains_whose_outputs_are_large_and_allowed(node: Watched) -> None:
    with node.attacked():
        ids = at_once(8, lambda n: submit_until_accepted(node.api, ["echo"] * 3, large(n)), 16)
        ended(node.api, ids)
    for number, identifier in enumerate(ids):
        (result,) = node.api.results([identifier])
        assert result["status"] == "success"
        output = result["result"]["output"]["output"]["output"]["output"]
        assert output == large(number)


def test_bodies_that_come_together(node: Watched) -> None:
    with node.attacked():
        ids = at_once(12, lambda n: submit_until_accepted(node.api, ["echo"], large(n)), 12)
        ended(node.api, ids)
    (result,) = node.api.results(ids[-1:])
    assert result["result"]["output"]["output"] == large(11)


def test_bodies_that_are_half_sent(node: Watched) -> None:
    half = head("POST", "/api/jobs", content_length="15000000") + b"x" * (8 * MIB)
    with node.attacked(), contextlib.ExitStack() as stack:
        for _ in range(30):
            connection = stack.enter_context(connected(node.port))
            with contextlib.suppress(OSError):
                connection.settimeout(2)
                connection.sendall(half)


def test_streams_that_are_large(node: Watched) -> None:
    def stream(number: int) -> int:
        body = {"containers": ["huge"], "data": {"bytes": 64 * MIB}}
        reply = node.api.post(body, "/api/jobs/stream")
        assert reply.status == 200
        return len(reply.body)

    with node.attacked():
        lengths = at_once(8, stream, 8)
    assert min(lengths) > 64 * MIB
    newest = node.api.get("/api/jobs?limit=1").json
    (result,) = node.api.results(newest)
    assert len(result["result"]["output"]["output"]) == 16 * MIB
    assert result["result"]["output"]["truncated"]


def test_streams_that_are_not_read(node: Watched) -> None:
    body = json.dumps({"containers": ["huge"], "data": {"bytes": 64 * MIB}}).encode()
    request = post("/api/jobs/stream", body)
    with node.attacked(), contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connected(node.port)).sendall(request)
        time.sleep(2)


def test_json_that_would_become_many_objects(node: Watched) -> None:
    many = [
        b'{"containers":[' + b'"a",' * (3 * MIB) + b'"a"],"data":{}}',
        b'{"subscription":{},' + b'"k":0,' * (2 * MIB) + b'"data":{}}',
        b'{"subscription":{' + b'"k":0,' * (2 * MIB) + b'"a":1},"signature":{},"data":{}}',
        b'{"containers":["echo"],"data":{' + b'"k":0,' * (2 * MIB) + b'"a":1}}',
        b'{"containers":["echo"],"data":{"a":"' + "😀".encode() * (3 * MIB) + b'"}}',
        b"[" * (4 * MIB),
        b"[" + b"0," * (4 * MIB) + b"0]",
    ]
    with node.attacked():
        for body in many:
            for path in ("/api/jobs", "/api/jobs/batch"):
                assert node.api.post(body, path).status < 500


def test_heads_that_would_become_many_objects(node: Watched) -> None:
    fields = b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"a:\r\n" * 15_000
    pipelined = head("GET", "/health") * 5000
    with node.attacked(), contextlib.ExitStack() as stack:
        for number in range(500):
            connection = stack.enter_context(connected(node.port))
            connection.settimeout(2)
            with contextlib.suppress(OSError):
                connection.sendall(fields if number % 2 else pipelined)
        time.sleep(1)


def test_bodies_behind_answers_that_are_not_taken(node: Watched) -> None:
    """What belongs to a later request of a connection is not read before its turn."""
    identifier = submit_until_accepted(node.api, ["echo"], large())
    node.api.finished([identifier])
    request = head("GET", f"/api/jobs?id={identifier}")
    request += head("POST", "/api/jobs", content_length="15000000") + b"x" * 600_000
    with node.attacked(), contextlib.ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(connected(node.port))
            connection.settimeout(0.2)
            with contextlib.suppress(OSError):
                connection.sendall(request)


def test_outcomes_while_the_disk_is_full(node: Watched) -> None:
    wal = node.process.data_path / "infernet-edge.sqlite-wal"
    with node.attacked():
        accepted = [node.api.submit("huge", {"bytes": 14 * MIB}) for _ in range(40)]
        with no_more_than(node.process.pid, wal.stat().st_size):
            time.sleep(8)  # longer than the pause before another try
            assert set(node.api.running()) <= set(accepted)
        ended(node.api, accepted)
    for identifier in accepted:
        (result,) = node.api.results([identifier])
        assert result["status"] == "success"


def test_delegated_requests_while_the_chain_is_away(echo: EchoService, tmp_path: Path) -> None:
    """What is taken on stays on the disk; whether somebody signed it, the chain says later."""
    chain = {
        "enabled": True,
        "rpc_url": f"http://127.0.0.1:{free_port()}",
        "coordinator_address": COORDINATOR,
        "wallet": {"private_key": NODE.key.hex()},
    }
    config = {
        "server": {"max_held_bytes": LIMIT},
        "containers": [{"id": "echo", "url": echo.url}],
        "chain": chain,
    }
    body = json.loads(signed_v0())
    body["data"] = {"text": "x" * 8 * MIB}

    with NodeProcess(config, tmp_path, fresh=True, command=LOOKS_OFTEN) as process:
        node = Watched(process)
        with node.attacked():
            for nonce in range(24):
                body["signature"]["nonce"] = nonce
                body["subscription"]["more"] = "y" * 200_000  # is not kept
                reply = node.api.post(body)
                while reply.status == 503:
                    time.sleep(0.1)
                    reply = node.api.post(body)
                assert (reply.status, reply.json) == (200, {})
        process.stop()
        process.start()
        again = Watched(process)
        assert again.at_start <= node.at_start + LEFT
        assert again.api.get("/info").json["pending"]["onchain"] == 24
        assert "Traceback" not in process.log()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    need("openssl")
    folder = tmp_path_factory.mktemp("tls")
    names = {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-out", names["cert"], "-keyout", names["key"]]
    subprocess.run(command, check=True, capture_output=True)
    return names


def test_silent_tls_connections(echo: EchoService, tmp_path: Path, tls: dict[str, str]) -> None:
    config = {
        "server": {"max_held_bytes": LIMIT, "tls": tls},
        "containers": [{"id": "echo", "url": echo.url}],
    }
    with NodeProcess(config, tmp_path, fresh=True, command=LOOKS_OFTEN) as process:
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        node = Watched(process, Api(process.port, tls=trusting))
        with node.attacked(), contextlib.ExitStack() as stack:
            for _ in range(1300):
                stack.enter_context(connected(node.port))
            time.sleep(2)
            assert len(psutil.Process(process.pid).net_connections("tcp")) < 400
        assert "Traceback" not in process.log()
