"""Streams: when the first chunk comes, how fast a long one is, and many at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from tests.benchmarks.bench import LONGEST, MEBIBYTE, Bench
from tests.benchmarks.load import percentile
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import counters

_DIRECT = "direct call"
_MANY = 200
_FEW = 10

LINES = (
    Line("streams.first", "first chunk of a stream, p50", "ms", floor=_DIRECT),
    Line(
        "streams.over",
        "first chunk of a stream, p50, over a direct call",
        "ms",
        floor="",
        goal=2.0,
        goal_of_figure=True,
        resolution=0.2,
    ),
    Line("streams.long", "one long stream", "MiB/s", floor=_DIRECT, more=True, goal=0.45),
    Line("streams.many", f"{_MANY} streams at once, until all are done", "ms", floor=_DIRECT),
    Line(
        "streams.flat",
        f"CPU per stream, {_MANY} at once",
        "µs",
        floor=f"{_FEW} at once",
        goal=1.2,
    ),
)


def measure_streams(bench: Bench) -> list[Row]:
    """Against the same service, called directly."""
    samples = Samples()
    variants = ("longstream", "huge")
    with bench.echo() as echo:
        config = {
            "containers": [
                {"id": name, "url": f"{echo.url}/{name}", "max_concurrency": 256}
                for name in variants
            ],
            # The usual budget has room for some 150 to 200 streams; the others get 503.
            "server": {"max_held_bytes": 2**30},
        }
        with bench.node("streams", config) as node:
            for number in range(-1, bench.extent.rounds):
                _round(bench, samples if number >= 0 else Samples(), echo.url, node.url, node.pid)
                bench.say(f"  round {number + 1} of {bench.extent.rounds}")
    return samples.rows(LINES)


def _round(bench: Bench, samples: Samples, direct: str, node: str, pid: int) -> None:
    count = bench.extent.count(60, 5)
    firsts = {}
    for who, url in (("node", node), ("floor", direct)):
        taken = uvloop.run(_one_by_one(url, who == "node", count))
        firsts[who] = percentile(sorted(taken), 50) * 1e3
        samples.add("streams.first", firsts[who], who)
        size = bench.extent.count(256 * MEBIBYTE, MEBIBYTE)
        data = {"bytes": size}
        begin = time.perf_counter()
        _, got = uvloop.run(_stream(url, "huge", data, node=who == "node", first=b'"'))
        assert got >= size // MEBIBYTE * MEBIBYTE, got
        samples.add("streams.long", got / MEBIBYTE / (time.perf_counter() - begin), who)
        begin = time.perf_counter()
        before = counters(pid).cpu
        uvloop.run(_together(url, who == "node", _MANY))
        samples.add("streams.many", (time.perf_counter() - begin) * 1e3, who)
        if who == "node":
            samples.add("streams.flat", (counters(pid).cpu - before) / _MANY * 1e6)
            before = counters(pid).cpu
            for _ in range(_MANY // _FEW):
                uvloop.run(_together(url, True, _FEW))
            samples.add("streams.flat", (counters(pid).cpu - before) / _MANY * 1e6, "floor")
    samples.add("streams.over", firsts["node"] - firsts["floor"])


async def _one_by_one(url: str, node: bool, count: int) -> list[float]:
    return [
        (await _stream(url, "longstream", {"n": 1}, node=node, first=b"chunk-0"))[0]
        for _ in range(count)
    ]


async def _together(url: str, node: bool, count: int) -> None:
    data = {"n": 20, "gap": 0.001}
    streams = (_stream(url, "longstream", data, node=node, first=b"chunk-0") for _ in range(count))
    await asyncio.gather(*streams)


async def _stream(
    url: str, variant: str, data: dict[str, Any], *, node: bool, first: bytes
) -> tuple[float, int]:
    """Seconds until `first` has come, and the bytes of the whole answer.

    A plain connection that is closed at the end, so that the client costs as little as can be.
    Raises AssertionError for another status than 200, and TimeoutError.
    """
    call = {"data": data, "source": 1, "destination": 2, "requires_proof": False}
    path = "/api/jobs/stream" if node else f"/{variant}/service_output"
    body = msgspec.json.encode({"containers": [variant], "data": data} if node else call)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: benchmark\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    begin = time.perf_counter()
    async with asyncio.timeout(LONGEST):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        try:
            writer.write(head.encode() + body)
            beginning = b""
            while first not in beginning:
                chunk = await reader.read(2**18)
                assert chunk, beginning
                beginning += chunk
            taken, size = time.perf_counter() - begin, len(beginning)
            assert beginning.startswith(b"HTTP/1.1 200"), beginning
            while chunk := await reader.read(2**18):
                size += len(chunk)
        finally:
            writer.close()
    return taken, size
