"""One client that opens as many connections as it can, and the others meanwhile."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.client import Api, eventually
from tests.support.echo import EchoService
from tests.support.networks import second_machine
from tests.support.node import NodeProcess

MOST = 100  # connections of a client
HEALTH_WITHIN = 3.0  # seconds, where the rest of the tests run, too; else it takes milliseconds

# Opens connections and says "open"; then each that began a body goes on with it, byte by byte.
_CROWD = """
import resource, select, socket, sys, time
host, port, count, beginning = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
drips = "content-length" in beginning
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 100), hard))
crowd = []
for _ in range(count):
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex((host, port))
    crowd.append(connection)
    if len(crowd) % 100 == 0:
        time.sleep(0.02)
time.sleep(0.5)
for connection in crowd:
    try:
        connection.send(beginning.encode())
    except OSError:
        pass
print("open", flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]:
    for connection in crowd:
        try:
            connection.send(b"y" * drips)
        except OSError:
            pass
"""
_HALF_A_BODY = (
    "POST /api/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    'content-length: 100000\r\n\r\n{"containers":'
)


@contextlib.contextmanager
def crowd(url: str, count: int, beginning: str, within: tuple[str, ...] = ()) -> Iterator[None]:
    """Connections, each of which sends `beginning` and waits; `within` another machine."""
    host, _, port = url.removeprefix("http://").partition(":")
    program = (*within, sys.executable, "-c", _CROWD, host, port, str(count), beginning)
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "open\n"
            yield
        finally:
            process.stdin.close()
            process.wait(30)


def connections_of(pid: int, address: str) -> int:
    """How many connections a process has with an address."""
    found = psutil.Process(pid).net_connections("tcp")
    return sum(bool(each.raddr) and each.raddr[0].endswith(address) for each in found)


@pytest.mark.parametrize(
    "beginning", ["", "GET /health HTTP/1.1\r\n", _HALF_A_BODY], ids=["idle", "head", "body"]
)
def test_a_crowd_from_one_address_leaves_the_others_alone(tmp_path: Path, beginning: str) -> None:
    config = {"server": {"host": "0.0.0.0", "max_connections_per_client": MOST}}
    with NodeProcess(config, tmp_path) as node, second_machine() as other:
        api = Api(node.port)
        with crowd(f"http://{other.here}:{node.port}", 3000, beginning, other.within):
            slowest = 0.0
            for _ in range(20):
                begin = time.perf_counter()
                assert api.get("/health").status == 200
                slowest = max(slowest, time.perf_counter() - begin)
            # Of those that it has just accepted some may be open still.
            eventually(lambda: connections_of(node.pid, other.address) <= MOST)
            # Another client of the same address still gets its answer.
            time.sleep(1.2)  # until those that send nothing may have to go
            url = f"http://{other.here}:{node.port}/health"
            assert "healthy" in other.run("curl", "--silent", "--max-time", "20", url).stdout
        print(f"slowest {slowest * 1000:.0f} ms")
        assert slowest <= HEALTH_WITHIN
        assert "Traceback" not in node.log()


@pytest.mark.parametrize("beginning", ["", _HALF_A_BODY], ids=["idle", "body"])
def test_when_all_places_are_taken_those_go_that_owe(
    tmp_path: Path, echo: EchoService, beginning: str
) -> None:
    """This machine's own clients have no limit, so a crowd of them takes all places."""
    longstream = {"id": "longstream", "url": f"{echo.url}/longstream"}
    with (
        NodeProcess({"containers": [longstream]}, tmp_path) as node,
        ThreadPoolExecutor(1) as pool,
    ):
        api = Api(node.port)
        waiting = pool.submit(api.stream, "longstream", {"n": 30, "gap": 0.2})
        eventually(lambda: echo_is_open(echo))
        with crowd(node.url, 3000, beginning):
            for _ in range(20):
                assert api.get("/health").status == 200
        assert waiting.result().complete
        assert "Traceback" not in node.log()


def echo_is_open(echo: EchoService) -> bool:
    """Whether the service has a call in work."""
    with urllib.request.urlopen(f"{echo.url}/calls") as answer:
        return bool(json.load(answer)["open"])
