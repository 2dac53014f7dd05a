"""Containers that run only while jobs need them: the time until the first byte of an answer."""

from __future__ import annotations

import json
import time
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.benchmarks.bench import LONGEST, Bench
from tests.benchmarks.results import Line, Row, Samples
from tests.support.client import Api, eventually
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port

_FLOOR = "podman run until it answers"
_IDLE = 1.0  # seconds without a job, after which they are stopped

LINES = (
    Line("wake.cold", "first byte, container asleep", "s", floor=_FLOOR, goal=3.0),
    Line("wake.swap", "first byte, another one in its place", "s", floor=_FLOOR, goal=5.0),
    Line("wake.warm", "first byte, container running", "s", floor=_FLOOR, goal=0.1),
)


def measure_wake(bench: Bench) -> list[Row]:
    """Streams for two containers, of which one may run at a time; one stream after the other.

    The floor is the same image, started by hand in the same round. Skips without Podman.
    """
    samples = Samples()
    with IsolatedPodman() as podman:
        podman.start_service()
        image = podman.echo_image()
        one = {"image": image, "start": "on_demand", "idle_timeout": _IDLE}
        settings = {
            "manage_containers": True,
            "podman": {"url": podman.url},
            "max_running": 1,
            "containers": [{**one, "id": name, "port": free_port()} for name in "ab"],
        }
        with bench.node("wake", settings) as node:
            api = Api(node.port)

            def all_sleep() -> bool:
                items = api.get("/api/containers").json["items"]
                return [each["state"] for each in items] == ["asleep"] * 2

            for _ in bench.rounds():
                eventually(all_sleep, LONGEST)
                floor = _by_hand(podman, image)
                found = {name: _first_byte(node.url, each) for name, each in _COURSE}
                for name, seconds in found.items():
                    samples.add(f"wake.{name}", seconds)
                    samples.add(f"wake.{name}", floor, "floor")
    return samples.rows(LINES)


_COURSE = (("cold", "a"), ("warm", "a"), ("swap", "b"))


def _first_byte(url: str, container: str) -> float:
    """Seconds until the first byte that the container sends, after the id of the job."""
    body = json.dumps({"containers": [container], "data": {}}).encode()
    headers = {"content-type": "application/json"}
    begin = time.monotonic()
    with urlopen(Request(f"{url}/api/jobs/stream", body, headers), timeout=LONGEST) as answer:
        text = b""
        while b"0:" not in text:  # the beginning of the first chunk
            part = answer.read1()
            assert part, text
            text += part
        seconds = time.monotonic() - begin
        answer.read()
    return seconds


def _by_hand(podman: IsolatedPodman, image: str) -> float:
    """Seconds from `podman run` to the first answer, without the node."""
    port = free_port()
    begin = time.monotonic()
    podman.run("run", "--detach", "--name=floor", f"--publish=127.0.0.1:{port}:3000", image)
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
        except (URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < begin + LONGEST
            time.sleep(0.01)
    seconds = time.monotonic() - begin
    podman.run("rm", "--force", "--time=0", "floor")
    return seconds
