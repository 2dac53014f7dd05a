"""The counts of the last hour."""

from __future__ import annotations

import sys

import pytest

from infernet_edge.clock import milliseconds
from infernet_edge.statistics.last_hour import BUCKETS, LastHour


class Clock:
    def __init__(self) -> None:
        self.now = 600_000.0

    def __call__(self) -> float:
        return self.now


def test_counts_by_minutes() -> None:
    clock = Clock()
    hour = LastHour(clock)
    hour.note(0.1, ok=True)
    clock.now += 60
    for _ in range(3):
        hour.note(2.0, ok=True)
    hour.note(None, ok=False)
    clock.now += 120 + 15
    minutes = hour.minutes()
    assert minutes.step_s == 60
    assert minutes.done == [*[0] * (BUCKETS - 4), 1, 3, 0, 0]
    assert minutes.failed == [*[0] * (BUCKETS - 3), 1, 0, 0]
    assert [value is None for value in minutes.p50_ms[-4:]] == [False, False, True, True]
    assert 44_000 < minutes.end - milliseconds() <= 45_000
    assert hour.last_minute().done == 0
    assert (hour.summary().done, hour.summary().failed) == (4, 1)
    clock.now += 57 * 60
    assert hour.summary().done == 3
    clock.now += 3600
    summary = hour.summary()
    assert (summary.done, summary.failed, summary.p50_ms, summary.p95_ms) == (0, 0, None, None)
    assert hour.minutes().done == [0] * BUCKETS


@pytest.mark.parametrize("seconds", [0.0015, 0.02, 0.4, 3.0, 90.0, 7200.0])
def test_percentiles_are_right_within_a_tenth(seconds: float) -> None:
    hour = LastHour(Clock())
    for _ in range(90):
        hour.note(seconds, ok=True)
    for _ in range(10):
        hour.note(seconds * 2, ok=False)
    summary = hour.summary()
    assert summary.p50_ms == pytest.approx(seconds * 1000, rel=0.1, abs=1)
    assert summary.p95_ms == pytest.approx(seconds * 2000, rel=0.1, abs=1)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e-9, 1e9])
def test_any_time_has_a_bin(seconds: float) -> None:
    hour = LastHour(Clock())
    hour.note(seconds, ok=True)
    assert hour.summary().done == 1
    assert hour.summary().p50_ms is not None


def test_the_size_is_bounded() -> None:
    clock = Clock()
    hour = LastHour(clock)
    for number in range(100_000):
        clock.now += 1.7
        hour.note(number % 300, ok=True)
    buckets = hour._buckets  # noqa: SLF001 - its size is what is tested
    assert len(buckets) == BUCKETS
    assert sum(sys.getsizeof(each.times) for each in buckets) < 60_000
