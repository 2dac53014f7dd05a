"""What readers of events and waiting requests cost.

The readers read as pages do (`every=0.5`), or single events. All
waiters wait for one job that does not end.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import msgspec

from tests.benchmarks.bench import MEBIBYTE, Bench, config_for, loaded
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import memory, wake_ups
from tests.support.process import ROOT

_OTHER_CLIENT = "127.0.0.2"  # so that the job that does not end is not among those of the load
_HELD = msgspec.json.encode({"containers": ["slow"], "data": {"sleep": 500}})
_READERS = 20
_WAITERS = 200
_CROWDS = {"pages": "types=job,container&every=0.5", "single": "types=job"}
_ALONE = "without readers"

LINES = (
    Line("readers.pages.rate", "jobs/s, 20 pages and 200 waiters", "1/s", floor=_ALONE, more=True),
    Line("readers.pages.cpu", "CPU per job, 20 pages and 200 waiters", "µs", floor=_ALONE),
    Line(
        "readers.pages.wake_ups",
        "wake-ups, idle, 20 pages and 200 waiters",
        "1/s",
        floor="",
        resolution=1.0,
    ),
    Line("readers.pages.memory", "memory, PSS, 20 pages and 200 waiters", "MiB", floor=_ALONE),
    Line("readers.single.rate", "jobs/s, 20 readers of each event", "1/s", floor=_ALONE, more=True),
    Line("readers.single.cpu", "CPU per job, 20 readers of each event", "µs", floor=_ALONE),
)


def measure_readers(bench: Bench) -> list[Row]:
    """Three nodes in turn: alone, with pages and waiters, with readers of single events."""
    samples = Samples()
    jobs = bench.extent.count(2000, 20)
    window = bench.extent.seconds(5.0, 1.0)
    with ExitStack() as stack:
        echo = stack.enter_context(bench.echo())
        config = config_for(echo.url)
        config["containers"].append({"id": "slow", "url": f"{echo.url}/slow", "timeout": 600})
        nodes = {
            name: stack.enter_context(bench.node(name, config)) for name in ("alone", *_CROWDS)
        }
        for name, query in _CROWDS.items():
            stack.enter_context(_crowd(nodes[name].url, query))
        time.sleep(1)
        before = wake_ups(nodes["pages"].pid)
        time.sleep(window)
        woken = (wake_ups(nodes["pages"].pid) - before) / window
        samples.add("readers.pages.wake_ups", woken)
        for number in range(-1, bench.extent.rounds):
            found = samples if number >= 0 else Samples()
            for name, node in nodes.items():
                load = loaded(node, jobs, 64)
                for crowd in _CROWDS if name == "alone" else (name,):
                    who = "floor" if name == "alone" else "node"
                    found.add(f"readers.{crowd}.rate", load.load.rate, who)
                    found.add(f"readers.{crowd}.cpu", load.cpu_microseconds, who)
                    pss = memory(node.pid).pss / MEBIBYTE
                    found.add(f"readers.{crowd}.memory", pss, who)
            bench.say(f"  round {number + 1} of {bench.extent.rounds}")
    return samples.rows(LINES)


@contextmanager
def _crowd(url: str, query: str) -> Iterator[None]:
    """Readers and waiters in a process of their own, as long as the block runs."""
    command = [sys.executable, "-m", "tests.benchmarks.groups.readers", url, query]
    command += [str(_READERS), str(_WAITERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield
        finally:
            program.terminate()


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
