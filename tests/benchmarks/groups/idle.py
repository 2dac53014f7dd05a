"""What the node costs when it has nothing to do."""

from __future__ import annotations

import time

from tests.benchmarks.bench import Bench
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import cpu_seconds, wake_ups

LINES = (
    Line("idle.cpu", "CPU, idle", "% of a core", floor="", resolution=0.05),
    Line("idle.wake_ups", "wake-ups, idle", "1/s", floor="", resolution=0.3),
)


def measure_idle(bench: Bench) -> list[Row]:
    """Windows of some seconds, some seconds after the start, without any request."""
    samples = Samples()
    window = bench.extent.seconds(5.0)
    with bench.pair("idle") as pair:
        time.sleep(bench.extent.seconds(5.0))
        for _ in bench.rounds():
            cpu, woken, begin = (
                cpu_seconds(pair.node.pid),
                wake_ups(pair.node.pid),
                time.monotonic(),
            )
            time.sleep(window)
            passed = time.monotonic() - begin
            samples.add("idle.cpu", 100 * (cpu_seconds(pair.node.pid) - cpu) / passed)
            samples.add("idle.wake_ups", (wake_ups(pair.node.pid) - woken) / passed)
    return samples.rows(LINES)
