"""For how long the disk lasts."""

from __future__ import annotations

import pytest

from infernet_edge.statistics.disk_pace import DiskPace

GIB = 2**30


def pace(hours: float, per_hour: int, free: int = 100 * GIB) -> DiskPace:
    """What is known after some hours at a pace, checked each 10 seconds."""
    now = [1000.0]
    found = DiskPace(lambda: now[0])
    for step in range(int(hours * 360) + 1):
        found.note(free - per_hour * step // 360)
        now[0] += 10
    return found


def test_the_days_at_the_pace_of_the_last_day() -> None:
    assert pace(2, GIB).days_left() == pytest.approx(98 / 24, abs=0.1)
    assert pace(30, GIB).days_left() == pytest.approx(70 / 24, abs=0.1)


@pytest.mark.parametrize(
    ("hours", "per_hour"),
    [
        (0, GIB),  # nothing is known
        (0.9, GIB),  # too short
        (5, 0),
        (5, -GIB),  # more is free than before
        (5, GIB // 1000),  # for years
    ],
)
def test_nothing_is_said(hours: float, per_hour: int) -> None:
    assert pace(hours, per_hour).days_left() is None


def test_without_a_sample() -> None:
    assert DiskPace().days_left() is None


def test_only_a_day_counts() -> None:
    now = [0.0]
    found = DiskPace(lambda: now[0])
    found.note(1000 * GIB)
    now[0] += 3600
    found.note(100 * GIB)  # a large file came
    for _ in range(24 * 360 + 360):
        now[0] += 10
        found.note(100 * GIB)
    assert found.days_left() is None
