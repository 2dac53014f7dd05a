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
    """One long window without any request, some seconds after the start: it wakes up seldom."""
    samples = Samples()
    with bench.pair("idle") as pair:
        pid = pair.node.pid
        time.sleep(bench.extent.seconds(5.0))
        cpu, woken, begin = cpu_seconds(pid), wake_ups(pid), time.monotonic()
        time.sleep(bench.extent.seconds(20.0))
        passed = time.monotonic() - begin
        samples.add("idle.cpu", 100 * (cpu_seconds(pid) - cpu) / passed)
        samples.add("idle.wake_ups", (wake_ups(pid) - woken) / passed)
    return samples.rows(LINES)
