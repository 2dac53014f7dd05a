"""The benchmarks work; what they find is not judged here, since machines differ."""

import math
from pathlib import Path

import pytest
from msgspec import structs

from tests.benchmarks.measure import Extent, Figures, Results, measure
from tests.benchmarks.report import ratios, table

TINY = Extent(jobs=20, connections=4, rounds=1, latency_jobs=3, starts=1, settle=0.0)


@pytest.mark.nightly
def test_a_tiny_run_measures_everything(tmp_path: Path) -> None:
    results = measure(TINY, tmp_path, say=lambda line: None)
    for figure in structs.astuple(results.node):
        assert figure is not None
        assert math.isfinite(figure)
    assert results.node.jobs_per_second > 0
    assert results.node.written_bytes_per_job
    # 20 jobs may take less CPU time than the clock resolves.
    found = {name: both for name, both in ratios(results).items() if not name.startswith("cpu")}
    assert {"jobs_per_second", "latency_milliseconds", "idle_pss_mebibytes"} <= set(found)
    assert all(math.isfinite(ratio) and ratio > 0 for both in found.values() for ratio in both)


@pytest.mark.parametrize("reference", [False, True])
def test_the_table_has_a_line_a_figure(reference: bool) -> None:
    bare = Figures(3000, 300, 0.5, 30, 40, 35, 0.5, 0.2)
    node = Figures(1500, 600, 1.0, 45, 60, 50, 1.0, 0.1, 4096, 2000, 600)
    head, speed, *others = table(Results(TINY, node, bare, bare), reference=reference).splitlines()
    assert len(others) == 10
    assert "1500          3000         3000      0.50 x     0.50 x" in speed
    assert ("recorded" in head) is reference
    assert ("489-548" in speed) is reference
