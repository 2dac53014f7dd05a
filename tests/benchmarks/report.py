"""The results as a table for people."""

from __future__ import annotations

import math

from tests.benchmarks.measure import Results

ROWS = [
    ("jobs_per_second", "jobs/s, end to end"),
    ("cpu_microseconds_per_job", "CPU per job, µs"),
    ("latency_milliseconds", "one job alone, p50, ms"),
    ("idle_pss_mebibytes", "idle memory, PSS, MiB"),
    ("idle_rss_mebibytes", "idle memory, RSS, MiB"),
    ("loaded_pss_mebibytes", "memory after load, PSS, MiB"),
    ("start_seconds", "start to first answer, s"),
    ("stop_seconds", "SIGTERM to end, idle, s"),
    ("disk_bytes_per_job", "to disk per job, bytes"),
    ("written_bytes_per_job", "write calls per job, bytes"),
    ("stored_bytes_per_job", "growth of files per job, bytes"),
]

REFERENCE = {
    "jobs_per_second": "489-548",
    "cpu_microseconds_per_job": "1700-1900",
    "latency_milliseconds": "4.7",
    "idle_rss_mebibytes": "147",
    "start_seconds": "1.2-1.9",
    "stop_seconds": "up to 10",
}
"""Recorded once from Ritual's Infernet node 1.4.0 on a 2-core x86-64 machine, same kind of client.

Not measured in this run. Redis, Docker and Fluent Bit, which it needs beside it, are not counted.
"""

HEADINGS = ["", "node", "bare asyncio", "bare uvloop", "to asyncio", "to uvloop"]


def ratios(results: Results) -> dict[str, tuple[float, float]]:
    """The node's figures as multiples of the two bare handlers', where these have them."""
    found = {}
    for name, _ in ROWS:
        node, *bare = _values(results, name)
        measured = [each for each in bare if each is not None]
        if node is not None and len(measured) == 2:
            slower, faster = (node / each if each else math.inf for each in measured)
            found[name] = (slower, faster)
    return found


def table(results: Results, *, reference: bool = False) -> str:
    """Lay the results out in columns; `reference` adds the recorded figures of the reference."""
    compared = ratios(results)
    lines = [[*HEADINGS, *(["reference (recorded)"] if reference else [])]]
    for name, title in ROWS:
        times = [f"{ratio:.2f} x" for ratio in compared.get(name, ())] or ["", ""]
        line = [title, *map(_number, _values(results, name)), *times]
        lines.append([*line, *([REFERENCE.get(name, "")] if reference else [])])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _values(results: Results, name: str) -> list[float | None]:
    servers = (results.node, results.bare_asyncio, results.bare_uvloop)
    return [getattr(server, name) for server in servers]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
