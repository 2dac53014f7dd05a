"""Every group works, at a hundredth of its extent; the figures are not judged."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import GROUPS, measure
from tests.benchmarks.bench import TINY, Extent
from tests.benchmarks.groups import jobs, reads, slow, streams


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", GROUPS)
def test_a_tiny_run_measures_everything(name: str, tmp_path: Path) -> None:
    found = measure(tmp_path, TINY, [name], say=lambda line: None)
    assert not found.failed, found.missing
    if found.missing:
        pytest.skip(found.missing[name])
    assert found.rows
    for row in found.rows:
        assert row.line.name.startswith(f"{name}.")
        assert all(math.isfinite(each) for each in (*row.node, *row.floor))
        assert not row.floor or len(row.floor) == len(row.node)


def test_names_and_titles_are_unique() -> None:
    lines = [*jobs.LINES, *jobs.LATENCY_LINES, *jobs.BATCH_LINES, *reads.LINES, *streams.LINES]
    lines += [*slow.DISK_LINES, *slow.CORE_LINES]
    assert len({line.name for line in lines}) == len(lines)
    assert len({line.title for line in lines}) == len(lines)


def test_counts_are_scaled_and_have_a_least() -> None:
    assert Extent(scale=0.5).count(100) == 50
    assert Extent(scale=0.01).count(100, 20) == 20
    assert Extent(scale=0.5).seconds(5) == 2.5
