"""What readers of events and waiting requests cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.crowd import (
    CrowdExtent,
    CrowdFigures,
    CrowdResults,
    crowd_table,
    measure_crowd,
)


@pytest.mark.nightly
@pytest.mark.timeout(180)
def test_pages_hardly_slow_the_node_down(tmp_path: Path) -> None:
    extent = CrowdExtent(jobs=1000, connections=32, rounds=2, window=3.0)
    results = measure_crowd(extent, tmp_path, say=lambda line: None)
    # By the CPU time of the node: the readers take that of the machine. Half of it is noise.
    alone = results.alone.cpu_microseconds_per_job
    assert results.pages.cpu_microseconds_per_job < 1.5 * alone
    assert results.single.cpu_microseconds_per_job < 3 * alone
    assert results.pages.idle_mebibytes < results.alone.idle_mebibytes + 20
    assert results.pages.wake_ups < results.alone.wake_ups + 5


def test_the_table() -> None:
    alone = CrowdFigures(1000, 200, 50, 60, 0.5)
    crowded = CrowdFigures(900, 220, 55, 66, 1.5)
    head, speed, *_ = crowd_table(CrowdResults(CrowdExtent(), alone, crowded, crowded)).splitlines()
    assert "20 event readers and 200 waiters" in head
    assert speed.endswith("0.90 x   0.90 x")
