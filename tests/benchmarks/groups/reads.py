"""GET requests: CPU of the server for one, with 50 containers and 10,000 jobs."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import msgspec
import uvloop

from tests.benchmarks.bench import Bench, drained
from tests.benchmarks.load import Connection, latencies, percentile
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import counters
from tests.support.process import ServerProcess

_HEALTH = "GET /health"
_CONTAINERS = 50
_LISTED = 10_000
_UNFINISHED = {"containers": ["hang"], "data": {}}

LINES = (
    Line("reads.health", "CPU, GET /health", "µs"),
    Line("reads.info", "CPU, GET /info, 50 containers", "µs", floor=_HEALTH),
    Line("reads.resources", "CPU, GET /resources, 50 containers", "µs", floor=_HEALTH, goal=3.0),
    Line("reads.poll", "CPU, poll of an unfinished job", "µs", floor=_HEALTH),
    Line("reads.list", "CPU, list of 10,000 ids", "µs", floor=_HEALTH),
    Line("reads.metrics", "CPU, GET /metrics, 50 containers", "µs", floor=_HEALTH),
    Line(
        "reads.beside",
        "GET /health while lists of 10,000 ids are asked, p95",
        "ms",
        floor="without the lists",
        resolution=0.5,
    ),
)


def measure_reads(bench: Bench) -> list[Row]:
    """Each kind of request in turn; /health of the bare handler is the floor of the node's."""
    samples = Samples()
    with ExitStack() as stack:
        echo = stack.enter_context(bench.echo())
        names = [f"echo{number}" for number in range(_CONTAINERS)]
        config = {
            "containers": [{"id": name, "url": echo.url} for name in names]
            + [{"id": "hang", "url": f"{echo.url}/hang"}],
            "jobs": {"max_pending": 100_000},
        }
        node = stack.enter_context(bench.node("reads", config))
        bare = stack.enter_context(bench.bare(echo.url))
        listed = bench.extent.count(_LISTED, 100)
        batch = [{"containers": [name], "data": {}} for name in names * 2]
        sent = latencies(node.url, "/api/jobs/batch", batch, count=listed // 100, connections=4)
        uvloop.run(sent)
        uvloop.run(drained(node.url))
        unfinished = uvloop.run(_submit(node.url))
        paths = {
            "health": ("/health", 2000),
            "info": ("/info", 500),
            "resources": ("/resources", 500),
            "poll": (f"/api/jobs?id={unfinished}", 2000),
            "list": ("/api/jobs", 50),
            "metrics": ("/metrics", 60),
        }
        for number in range(-1, bench.extent.rounds):
            found = samples if number >= 0 else Samples()
            floor = _cpu(bare, "/health", bench.extent.count(2000, 20))
            health = 0.0
            for name, (path, usual) in paths.items():
                cpu = _cpu(node, path, bench.extent.count(usual, 5))
                health = health or cpu
                found.add(f"reads.{name}", cpu)
                found.add(f"reads.{name}", floor if name == "health" else health, "floor")
            count = bench.extent.count(60, 3)
            alone, beside = uvloop.run(_beside(node.url, count))
            found.add("reads.beside", percentile(beside, 95) * 1e3)
            found.add("reads.beside", percentile(alone, 95) * 1e3, "floor")
            bench.say(f"  round {number + 1} of {bench.extent.rounds}")
    return samples.rows(LINES)


def _cpu(server: ServerProcess, path: str, count: int) -> float:
    """Microseconds for one request."""
    before = counters(server.pid).cpu
    uvloop.run(latencies(server.url, path, count=count, connections=4))
    return (counters(server.pid).cpu - before) / count * 1e6


async def _submit(url: str) -> str:
    """A job that does not end; its id."""
    connection = Connection(url)
    _, body = await connection.ask(connection.encode("POST", "/api/jobs", _UNFINISHED))
    connection.close()
    return str(msgspec.json.decode(body)["id"])


async def _beside(url: str, count: int) -> tuple[list[float], list[float]]:
    """Sorted seconds of /health: alone, and while `count` lists are asked one by one."""
    connection = Connection(url)
    request = connection.encode("GET", "/health")

    async def ask(until: asyncio.Task[list[float]]) -> list[float]:
        taken: list[float] = []
        while not until.done() or not taken:
            begin = time.perf_counter()
            await connection.ask(request)
            taken.append(time.perf_counter() - begin)
            await asyncio.sleep(0.0005)
        return sorted(taken)

    async def pause() -> list[float]:
        await asyncio.sleep(0.3)
        return []

    alone = await ask(asyncio.create_task(pause()))
    lists = asyncio.create_task(latencies(url, "/api/jobs", count=count))
    beside = await ask(lists)
    await lists
    connection.close()
    return alone, beside
