"""What it costs to keep containers running: wake-ups and memory of the node and of Podman's API.

Podman's API is started by a socket, as by its units, and ends when it is idle.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.benchmarks.usage import counters, memory, wake_ups
from tests.support.client import Api, eventually
from tests.support.node import NodeProcess
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.socket_unit import SocketUnit

MEBIBYTE = 2**20
_STEP = 0.1  # seconds between two readings
_LONGEST = 60.0
_SCRAPE_INTERVAL = 15.0  # seconds


class ContainerExtent(Struct, frozen=True):
    """How much is measured. Times in seconds; `idle` is that of Podman's unit (--time)."""

    containers: int = 2
    window: float = 20.0
    idle: int = 10
    scrapes: int = 100


class ContainerResults(Struct, frozen=True):
    """Wake-ups a second, MiB (PSS), and seconds.

    `idle` and `busy` are of the node and Podman's API together; `podman` is of the API alone, with
    nothing to do, as it would be if it ran all the time. `scrape_seconds` is the CPU time for
    one GET /metrics; Podman takes none.
    """

    extent: ContainerExtent
    idle_wake_ups: float
    busy_wake_ups: float
    podman_wake_ups: float
    node_mebibytes: float
    podman_mebibytes: float
    idle_noticed_seconds: float
    busy_noticed_seconds: float
    podman_ended_seconds: float
    scrape_seconds: float

    @property
    def scraping(self) -> float:
        """The part of one core that Prometheus takes, at its usual interval."""
        return self.scrape_seconds / _SCRAPE_INTERVAL


def measure_containers(
    extent: ContainerExtent, folder: Path, say: Callable[[str], None] = print
) -> ContainerResults:
    """Start Podman, a node and its containers; watch; kill containers; stop everything."""
    with IsolatedPodman() as podman, SocketUnit(podman, extent.idle) as unit:
        image = podman.echo_image()
        names = [f"echo{number}" for number in range(extent.containers)]
        settings = {
            "manage_containers": True,
            "podman": {"url": unit.url},
            "containers": [{"id": name, "image": image, "port": free_port()} for name in names],
        }
        with NodeProcess(settings, folder, fresh=True) as node:
            api = Api(node.port)

            def all_run() -> bool:
                return len(api.get("/info").json["containers"]) == len(names)

            eventually(all_run, within=_LONGEST)
            begin = time.monotonic()
            podman_memory = memory(unit.pid).pss
            eventually(lambda: not unit.running, within=_LONGEST)
            ended = time.monotonic() - begin
            say("Podman's API has ended")
            idle = _rate(extent.window, [lambda: node.pid, lambda: unit.pid])
            node_memory = memory(node.pid).pss
            scrape = _scrape(extent.scrapes, api, node, unit)
            say("scraped")
            idle_noticed = _kill(podman, api, names)
            say("idle")
            eventually(all_run, within=_LONGEST)
            api_alone = _rate(min(extent.idle / 2, extent.window), [lambda: unit.pid])
            eventually(lambda: not unit.running, within=_LONGEST)
            api.submit(names[-1], {"sleep": extent.window + 2})
            time.sleep(0.5)
            busy = _rate(extent.window, [lambda: node.pid, lambda: unit.pid])
            busy_noticed = _kill(podman, api, names)
            say("busy")
    return ContainerResults(
        extent,
        idle,
        busy,
        api_alone,
        node_memory / MEBIBYTE,
        podman_memory / MEBIBYTE,
        idle_noticed,
        busy_noticed,
        ended,
        scrape,
    )


def container_table(results: ContainerResults) -> str:
    """The results for people."""
    lines = [
        ("wake-ups/s, node and Podman's API, idle", results.idle_wake_ups),
        ("wake-ups/s, the same while a job runs", results.busy_wake_ups),
        ("wake-ups/s, Podman's API alone if it runs", results.podman_wake_ups),
        ("memory of the node, PSS, MiB", results.node_mebibytes),
        ("memory of Podman's API if it runs, PSS, MiB", results.podman_mebibytes),
        ("a killed container is noticed, idle, s", results.idle_noticed_seconds),
        ("a killed container is noticed, busy, s", results.busy_noticed_seconds),
        ("Podman's API ends after the start, s", results.podman_ended_seconds),
        ("CPU of one GET /metrics, ms", results.scrape_seconds * 1e3),
        ("one core for metrics each 15 s, %", results.scraping * 100),
    ]
    return "\n".join(f"{title:<46}{value:>8.2f}" for title, value in lines)


def _rate(window: float, pids: list[Callable[[], int]]) -> float:
    """Wake-ups a second of processes that may start and end meanwhile."""
    seen: dict[int, list[int]] = {}
    begin = time.monotonic()
    while time.monotonic() < begin + window:
        for pid in (each() for each in pids):
            if count := wake_ups(pid) if pid else 0:
                seen.setdefault(pid, [count, count])[1] = count
        time.sleep(_STEP)
    return sum(last - first for first, last in seen.values()) / (time.monotonic() - begin)


def _scrape(count: int, api: Api, node: NodeProcess, unit: SocketUnit) -> float:
    """Seconds of CPU for reading the metrics once; Podman's API must not be started by that."""
    api.get("/metrics")  # the first one imports what it needs
    before = counters(node.pid).cpu
    for _ in range(count):
        assert api.get("/metrics").status == 200
    assert not unit.running, "the metrics have asked Podman"
    return (counters(node.pid).cpu - before) / count


def _kill(podman: IsolatedPodman, api: Api, names: list[str]) -> float:
    """Kill the process of the first container; seconds until the node does not offer it."""
    found = [name for name in podman.containers() if f"-{names[0]}-" in name]
    pid = podman.inspect(found[0])["State"]["Pid"]
    begin = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    listed: Any = True
    while listed and time.monotonic() < begin + _LONGEST:
        listed = names[0] in {each["id"] for each in api.get("/info").json["containers"]}
    return time.monotonic() - begin
