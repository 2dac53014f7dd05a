"""Histograms."""

from __future__ import annotations

import pytest

from infernet_edge.metrics.measurements import COMMIT_BOUNDS, JOB_BOUNDS, WRITES_BOUNDS, Histogram


def test_a_value_counts_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((1, 2.5, 10))
    for value in (0, 1, 1.01, 2.5, 9, 10, 11, 1e9):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2, 2]
    assert histogram.sum == pytest.approx(0 + 1 + 1.01 + 2.5 + 9 + 10 + 11 + 1e9)


def test_whole_numbers_have_a_whole_sum() -> None:
    histogram = Histogram(WRITES_BOUNDS)
    for _ in range(3):
        histogram.observe(2**53 + 1)
    assert histogram.sum == 3 * (2**53 + 1)


@pytest.mark.parametrize("bounds", [JOB_BOUNDS, WRITES_BOUNDS, COMMIT_BOUNDS])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert sorted(set(bounds)) == list(bounds)
    assert bounds[0] > 0


def test_it_does_not_grow() -> None:
    histogram = Histogram(JOB_BOUNDS)
    for value in range(10_000):
        histogram.observe(value / 10)
    assert len(histogram.counts) == len(JOB_BOUNDS) + 1
    assert sum(histogram.counts) == 10_000
