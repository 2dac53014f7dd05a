"""What readers of events and waiting requests cost: jobs a second and memory, as ratios.

The readers read as pages do (`every=0.5`), or single events. All
waiters wait for one job that does not end.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop
from msgspec import Struct

from tests.benchmarks.load import load_node
from tests.benchmarks.measure import MEBIBYTE, node_config
from tests.benchmarks.usage import counters, memory, wake_ups
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.process import ROOT

_OTHER_CLIENT = "127.0.0.2"  # so that the job that does not end is not among those of the load
_HELD = msgspec.json.encode({"containers": ["slow"], "data": {"sleep": 500}})


class CrowdExtent(Struct, frozen=True):
    """How much is measured. Times in seconds."""

    readers: int = 20
    waiters: int = 200
    jobs: int = 3000
    connections: int = 64
    rounds: int = 5
    window: float = 10.0
    longest: float = 60.0


class CrowdFigures(Struct, frozen=True):
    """With one kind of crowd; `wake_ups` in a second, without jobs."""

    jobs_per_second: float
    cpu_microseconds_per_job: float
    idle_mebibytes: float
    loaded_mebibytes: float
    wake_ups: float


class CrowdResults(Struct, frozen=True):
    """`pages` read with every=0.5, `single` each event; both with the waiters."""

    extent: CrowdExtent
    alone: CrowdFigures
    pages: CrowdFigures
    single: CrowdFigures


def measure_crowd(
    extent: CrowdExtent, folder: Path, say: Callable[[str], None] = print
) -> CrowdResults:
    """Three nodes in turn: alone, with pages and waiters, with readers of single events."""
    crowds = {"alone": "", "pages": "types=job,container&every=0.5", "single": "types=job"}
    rates: dict[str, list[float]] = {name: [] for name in crowds}
    used: dict[str, list[float]] = {name: [] for name in crowds}
    idle: dict[str, tuple[float, float]] = {}
    loaded: dict[str, float] = {}
    with ExitStack() as stack:
        echo = stack.enter_context(EchoService(folder))
        nodes: dict[str, NodeProcess] = {}
        for name, query in crowds.items():
            config = node_config(echo.url) | {
                "containers": [
                    {"id": "echo", "url": echo.url},
                    {"id": "slow", "url": f"{echo.url}/slow", "timeout": 600},
                ]
            }
            node = nodes[name] = NodeProcess(config, folder / name, fresh=True)
            stack.enter_context(node)
            if query:
                stack.enter_context(_crowd(node.url, query, extent))
        for name, node in nodes.items():
            uvloop.run(asyncio.sleep(1))
            before = wake_ups(node.pid)
            uvloop.run(asyncio.sleep(extent.window))
            woken = (wake_ups(node.pid) - before) / extent.window
            idle[name] = memory(node.pid).pss / MEBIBYTE, woken
        for number in range(extent.rounds + 1):
            for name, node in nodes.items():
                before_load = counters(node.pid)
                load = uvloop.run(
                    load_node(node.url, extent.jobs, extent.connections, extent.longest)
                )
                if number:  # the first round warms up
                    rates[name].append(load.rate)
                    used[name].append((counters(node.pid) - before_load).cpu / extent.jobs)
                loaded[name] = memory(node.pid).pss / MEBIBYTE
            say(f"round {number} of {extent.rounds}")
    figures = [
        CrowdFigures(
            statistics.median(rates[name]),
            statistics.median(used[name]) * 1e6,
            idle[name][0],
            loaded[name],
            idle[name][1],
        )
        for name in crowds
    ]
    return CrowdResults(extent, *figures)


@contextmanager
def _crowd(url: str, query: str, extent: CrowdExtent) -> Iterator[None]:
    """Readers and waiters in a process of their own, as long as the block runs."""
    command = [sys.executable, "-m", "tests.benchmarks.crowd", url, query]
    command += [str(extent.readers), str(extent.waiters)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield
        finally:
            program.terminate()


def crowd_table(results: CrowdResults) -> str:
    """The results as columns, those with a crowd also as multiples."""
    head = f"{results.extent.readers} event readers and {results.extent.waiters} waiters"
    lines = [f"{head:<44}{'alone':>9}{'pages':>9}{'single':>9}{'pages':>9}{'single':>9}"]
    for name, title in (
        ("jobs_per_second", "jobs/s, end to end"),
        ("cpu_microseconds_per_job", "CPU per job, µs"),
        ("idle_mebibytes", "idle memory, PSS, MiB"),
        ("loaded_mebibytes", "memory after load, PSS, MiB"),
        ("wake_ups", "idle wake-ups/s"),
    ):
        each = [getattr(one, name) for one in (results.alone, results.pages, results.single)]
        ratios = [value / each[0] if each[0] else float("inf") for value in each[1:]]
        line = "".join(f"{value:>9.1f}" for value in each)
        lines.append(f"{title:<44}{line}" + "".join(f"{ratio:>7.2f} x" for ratio in ratios))
    return "\n".join(lines)


async def _main(url: str, query: str, readers: int, waiters: int) -> None:
    """Open all connections, say so, and read what comes until the process is ended."""
    parts = urlsplit(url)
    job = await _ask(parts.port, "POST", "/api/jobs", _HELD)
    identifier = msgspec.json.decode(job.partition(b"\r\n\r\n")[2])["id"]

    async def wait_always() -> None:
        while True:
            await _ask(parts.port, "GET", f"/api/jobs?id={identifier}&wait=60")

    async def read(opened: asyncio.Semaphore) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
        writer.write(f"GET /api/events?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        await reader.readuntil(b"hello")
        opened.release()
        while await reader.read(2**16):
            pass
        sys.exit("the stream ended")

    opened = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for _ in range(waiters):
            group.create_task(wait_always())
        for _ in range(readers):
            group.create_task(read(opened))
        for _ in range(readers):
            await opened.acquire()
        await asyncio.sleep(1)
        print("ready", flush=True)


async def _ask(port: int | None, method: str, path: str, body: bytes = b"") -> bytes:
    """One request of another client, and all of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(_OTHER_CLIENT, 0))
    try:
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        return await reader.read()
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
