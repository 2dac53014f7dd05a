"""Large payloads, in and out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import uvloop

from tests.benchmarks.bench import MEBIBYTE, Bench, subject
from tests.benchmarks.load import Connection
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import counters, forget_peak, peak

_SIZES = {"1mb": (10**6, 40, 4), "10mb": (10**7, 6, 2)}
"""Bytes of a payload, jobs of a round, clients."""

_TITLES = {"1mb": "1 MB in and out", "10mb": "10 MB in and out"}

LINES = tuple(
    line
    for name, title in _TITLES.items()
    for line in (
        Line(f"payloads.{name}.rate", f"jobs/s, {title}", "1/s", more=True, goal=0.35),
        Line(f"payloads.{name}.cpu", f"CPU per job, {title}", "ms"),
        Line(f"payloads.{name}.peak", f"peak memory, RSS, {title}", "MiB", goal=1.5),
    )
)


def measure_payloads(bench: Bench) -> list[Row]:
    """Jobs of text; the node's results are read with `wait`."""
    samples = Samples()
    with bench.pair("payloads") as pair:
        for number in range(-1, bench.extent.rounds):
            found = samples if number >= 0 else Samples()
            for name, (size, usual, clients) in _SIZES.items():
                jobs = bench.extent.count(usual, 2)
                body = {"containers": ["echo"], "data": {"text": "a" * size}}
                for server in pair.turns(number):
                    who, before = subject(server), counters(server.pid).cpu
                    forget_peak(server.pid)
                    begin = time.perf_counter()
                    uvloop.run(_load(server.url, body, jobs, clients, node=who == "node"))
                    found.add(f"payloads.{name}.rate", jobs / (time.perf_counter() - begin), who)
                    used = counters(server.pid).cpu - before
                    found.add(f"payloads.{name}.cpu", used / jobs * 1e3, who)
                    found.add(f"payloads.{name}.peak", peak(server.pid) / MEBIBYTE, who)
            bench.say(f"  round {number + 1} of {bench.extent.rounds}")
    return samples.rows(LINES)


async def _load(url: str, body: dict[str, Any], jobs: int, clients: int, *, node: bool) -> None:
    """Jobs until all results are here. Raises AssertionError when one is too short."""
    left = iter(range(jobs))
    size = len(body["data"]["text"])

    async def worker() -> None:
        connection = Connection(url)
        request = connection.encode("POST", "/api/jobs", body)
        for _ in left:
            status, answer = await connection.ask(request)
            assert status == 200, f"{status} {answer[:200]!r}"
            if node:
                identifier = msgspec.json.decode(answer)["id"]
                ask = connection.encode("GET", f"/api/jobs?id={identifier}&wait=20")
                status, answer = await connection.ask(ask)
            assert len(answer) > size, answer[:200]
        connection.close()

    await asyncio.gather(*(worker() for _ in range(clients)))
