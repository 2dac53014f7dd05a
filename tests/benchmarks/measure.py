"""The measurements: the node and the bare handlers in turn, against the same container."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop
from msgspec import Struct

from tests.benchmarks.bare import BareProcess
from tests.benchmarks.load import Load, bare_latency, load_bare, load_node, node_latency
from tests.benchmarks.usage import Counters, counters, memory, size_of
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.process import ServerProcess

MEBIBYTE = 2**20


class Extent(Struct, frozen=True):
    """How much is measured. Times in seconds."""

    jobs: int = 3000
    connections: int = 64
    rounds: int = 5
    latency_jobs: int = 300
    starts: int = 5
    settle: float = 3.0
    longest: float = 60.0


class Figures(Struct, frozen=True):
    """One server's results; None where the figure has no meaning for it."""

    jobs_per_second: float
    cpu_microseconds_per_job: float
    latency_milliseconds: float
    idle_pss_mebibytes: float
    idle_rss_mebibytes: float
    loaded_pss_mebibytes: float
    start_seconds: float
    stop_seconds: float
    disk_bytes_per_job: float | None = None
    written_bytes_per_job: float | None = None
    stored_bytes_per_job: float | None = None


class Results(Struct, frozen=True):
    """All servers of one run."""

    extent: Extent
    node: Figures
    bare_asyncio: Figures
    bare_uvloop: Figures


class Round(Struct, frozen=True):
    """One round of load on one server."""

    load: Load
    used: Counters
    stored: int
    latency: float


class Subject:
    """A server under measurement: how to load it, and what it has shown so far."""

    def __init__(
        self,
        process: ServerProcess,
        load: Callable[[str, int, int], Awaitable[Load]],
        latency: Callable[[str, int], Awaitable[float]],
        data_path: Path | None = None,
    ) -> None:
        self.process = process
        self._load = load
        self._latency = latency
        self._data_path = data_path
        self._rounds: list[Round] = []
        self._starts: list[float] = []
        self._stops: list[float] = []

    def start_and_stop(self) -> None:
        """Measure one start and one stop without work."""
        self._starts.append(self.process.start())
        begin = time.perf_counter()
        self.process.stop()
        self._stops.append(time.perf_counter() - begin)

    async def one_round(self, extent: Extent, *, counted: bool = True) -> None:
        """Load the server, then look at the latency of single jobs."""
        pid, url = self.process.pid, self.process.url
        before, stored_before = counters(pid), self._stored()
        load = await self._load(url, extent.jobs, extent.connections)
        used, stored = counters(pid) - before, self._stored() - stored_before
        latency = await self._latency(url, extent.latency_jobs)
        if counted:
            self._rounds.append(Round(load, used, stored, latency))

    def look_idle(self) -> None:
        """Note the memory before any work."""
        self._idle = memory(self.process.pid)

    def figures(self) -> Figures:
        """Medians over the rounds."""
        rounds = self._rounds

        def per_job(value: Callable[[Round], float]) -> float:
            return statistics.median(value(each) / each.load.jobs for each in rounds)

        keeps = self._data_path is not None
        return Figures(
            jobs_per_second=statistics.median(each.load.rate for each in rounds),
            cpu_microseconds_per_job=per_job(lambda each: each.used.cpu) * 1e6,
            latency_milliseconds=statistics.median(each.latency for each in rounds) * 1e3,
            idle_pss_mebibytes=self._idle.pss / MEBIBYTE,
            idle_rss_mebibytes=self._idle.rss / MEBIBYTE,
            loaded_pss_mebibytes=memory(self.process.pid).pss / MEBIBYTE,
            start_seconds=statistics.median(self._starts),
            stop_seconds=statistics.median(self._stops),
            disk_bytes_per_job=per_job(lambda each: each.used.disk) if keeps else None,
            written_bytes_per_job=per_job(lambda each: each.used.written) if keeps else None,
            stored_bytes_per_job=self._stored_per_job() if keeps else None,
        )

    def _stored(self) -> int:
        return size_of(self._data_path) if self._data_path else 0

    def _stored_per_job(self) -> float:
        # Over all rounds: the files grow by steps.
        jobs = sum(each.load.jobs for each in self._rounds)
        return sum(each.stored for each in self._rounds) / jobs


def measure(extent: Extent, folder: Path, say: Callable[[str], None] = print) -> Results:
    """Start everything, measure round by round, stop everything."""
    with ExitStack() as stack:
        echo = stack.enter_context(EchoService(folder))
        node = NodeProcess(node_config(echo.url), folder / "node", fresh=True)

        async def through_node(url: str, jobs: int, connections: int) -> Load:
            return await load_node(url, jobs, connections, extent.longest)

        subjects = {
            "node": Subject(node, through_node, node_latency, node.data_path),
            "bare, asyncio": Subject(
                BareProcess(echo.url, "asyncio", folder), load_bare, bare_latency
            ),
            "bare, uvloop": Subject(
                BareProcess(echo.url, "uvloop", folder), load_bare, bare_latency
            ),
        }
        for _ in range(extent.starts):
            for subject in subjects.values():
                subject.start_and_stop()
        for subject in subjects.values():
            stack.enter_context(subject.process)
        uvloop.run(_rounds(subjects, extent, say))
        results = [subject.figures() for subject in subjects.values()]
        return Results(extent, *results)


def node_config(container_url: str) -> dict[str, object]:
    """Settings that let the load in; all else is as a user has it."""
    return {
        "containers": [{"id": "echo", "url": container_url}],
        "jobs": {"max_pending": 100_000},
    }


async def _rounds(subjects: dict[str, Subject], extent: Extent, say: Callable[[str], None]) -> None:
    await asyncio.sleep(extent.settle)
    for subject in subjects.values():
        subject.look_idle()
    for number in range(extent.rounds + 1):
        for name, subject in subjects.items():
            # The first round warms up: connections, caches, the disk's files.
            await subject.one_round(extent, counted=number > 0)
            say(f"round {number} of {extent.rounds}: {name}")
