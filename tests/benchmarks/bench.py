"""What the groups of the table measure with: servers on cores of their own, and rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from msgspec import Struct

from tests.benchmarks.bare import BareProcess
from tests.benchmarks.load import Connection, Load, load_bare, load_node
from tests.benchmarks.machine import Cores
from tests.benchmarks.usage import Counters, counters
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.process import ServerProcess

MEBIBYTE = 2**20
LONGEST = 120.0
"""Seconds that one round may take."""

_Process = TypeVar("_Process", bound=ServerProcess)


class Unavailable(Exception):
    """This machine lacks what a group needs; the message says what, and how to get it."""


class Extent(Struct, frozen=True):
    """How much is measured: rounds, and a factor of all counts and times."""

    rounds: int = 5
    scale: float = 1.0

    def count(self, usual: int, least: int = 1) -> int:
        """A number of jobs, requests or bytes, scaled."""
        return max(least, round(usual * self.scale))

    def seconds(self, usual: float, least: float = 0.2) -> float:
        """A duration, scaled."""
        return max(least, usual * self.scale)


FULL = Extent()
QUICK = Extent(rounds=3, scale=0.2)
TINY = Extent(rounds=2, scale=0.01)


class Pair(Struct, frozen=True):
    """The node and the bare handler, in front of the same container."""

    echo: EchoService
    node: NodeProcess
    bare: BareProcess

    def turns(self, number: int) -> list[ServerProcess]:
        """Both, the node first in every other round."""
        both: list[ServerProcess] = [self.node, self.bare]
        return both if number % 2 == 0 else both[::-1]


def subject(server: ServerProcess) -> str:
    """As which the samples of a server are collected."""
    return "floor" if isinstance(server, BareProcess) else "node"


class Bench:
    """Starts servers, each kind on its core, below `folder`.

    The node and the floor share a core, since they never work at the same time. The caller pins
    itself to `cores.clients`.
    """

    def __init__(
        self, folder: Path, extent: Extent, cores: Cores, say: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.extent = extent
        self.cores = cores
        self.say = say

    def on_server_core(self, process: _Process) -> _Process:
        """The process, which is to be started on the core of the servers."""
        return _pinned(process, self.cores.server)

    def echo(self) -> EchoService:
        """The service container's stand-in."""
        return _pinned(EchoService(self.folder), self.cores.service)

    def node(self, name: str, config: Mapping[str, Any], **options: Any) -> NodeProcess:
        """A node with its data in a folder of that name; `options` are those of NodeProcess."""
        node = NodeProcess(config, self.folder / name, fresh=True, **options)
        return self.on_server_core(node)

    def bare(self, container_url: str) -> BareProcess:
        """The floor."""
        return self.on_server_core(BareProcess(container_url, "uvloop", self.folder))

    @contextmanager
    def pair(self, name: str, **options: Any) -> Iterator[Pair]:
        """Node and floor, started; `options` are those of NodeProcess."""
        with ExitStack() as stack:
            echo = stack.enter_context(self.echo())
            node = stack.enter_context(self.node(name, config_for(echo.url), **options))
            bare = stack.enter_context(self.bare(echo.url))
            yield Pair(echo, node, bare)

    def rounds(self) -> Iterator[int]:
        """The numbers of the counted rounds."""
        for number in range(self.extent.rounds):
            yield number
            self.say(f"  round {number + 1} of {self.extent.rounds}")


def config_for(container_url: str) -> dict[str, Any]:
    """Settings that let the load in; all else is as a user has it."""
    return {
        "containers": [{"id": "echo", "url": container_url}],
        "jobs": {"max_pending": 100_000},
    }


class Used(Struct, frozen=True):
    """A load, and what the server used for it."""

    load: Load
    used: Counters

    @property
    def cpu_microseconds(self) -> float:
        """For one job."""
        return self.used.cpu / self.load.jobs * 1e6


def loaded(server: ServerProcess, jobs: int, connections: int) -> Used:
    """Small jobs until all have their results. Raises AssertionError when one fails."""
    before = counters(server.pid)
    if isinstance(server, BareProcess):
        load = uvloop.run(load_bare(server.url, jobs, connections))
    else:
        load = uvloop.run(load_node(server.url, jobs, connections, LONGEST))
    return Used(load, counters(server.pid) - before)


async def drained(url: str) -> None:
    """Wait until the node has no unfinished job of ours. Raises AssertionError after LONGEST."""
    connection = Connection(url)
    pending = connection.encode("GET", "/api/jobs?pending=true&limit=1")
    async with asyncio.timeout(LONGEST):
        while await connection.ask(pending) != (200, b"[]"):
            await asyncio.sleep(0.01)
    connection.close()


def _pinned(process: _Process, core: int) -> _Process:
    process.ready_within = LONGEST  # a core that is shared with other work may be slow
    process.command = ["taskset", "--cpu-list", str(core), *process.command]
    return process
