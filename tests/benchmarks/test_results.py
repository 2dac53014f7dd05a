"""Rows: medians, ratios by rounds, spreads, goals."""

from __future__ import annotations

import math

from tests.benchmarks.results import Line, Row, Samples

RATE = Line("jobs.rate", "jobs", "1/s", more=True, goal=0.9)
SIZE = Line("jobs.size", "size", "bytes", floor="", goal=100, goal_of_figure=True)


def test_a_ratio_is_of_the_same_round() -> None:
    """A busy second that slows both of a round down does not change the ratio."""
    row = Row(RATE, [900.0, 90.0, 900.0], [1000.0, 100.0, 1000.0])
    assert row.measure == 0.9
    assert row.spread == 0
    assert row.figure == 900
    assert row.floor_figure == 1000
    assert row.met


def test_without_a_floor_the_figure_is_compared() -> None:
    row = Row(SIZE, [80.0, 100.0, 120.0])
    assert not row.is_ratio
    assert row.measure == 100
    assert math.isclose(row.spread, 0.2)
    assert row.met


def test_one_round_among_five_does_not_widen_the_spread() -> None:
    assert Row(SIZE, [100.0, 100.0, 100.0, 100.0, 500.0]).spread == 0


def test_a_floor_of_zero_has_no_ratio() -> None:
    row = Row(RATE, [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert not row.is_ratio
    assert row.measure == 2
    assert row.met is None


def test_goals_are_the_least_or_the_most() -> None:
    assert not Row(RATE, [89.0], [100.0]).met
    assert not Row(SIZE, [101.0]).met
    assert Row(Line("a.b", "", ""), [1.0], [1.0]).met is None


def test_nothing_used_has_no_spread() -> None:
    assert Row(SIZE, [0.0, 0.0, 1.0]).spread == 0


def test_samples_become_rows_in_the_order_of_the_lines() -> None:
    samples = Samples()
    samples.add("jobs.size", 5.0)
    samples.add("jobs.rate", 3.0, "floor")
    samples.add("jobs.rate", 2.0)
    missing = Line("jobs.none", "", "")
    assert samples.rows([RATE, missing, SIZE]) == [Row(RATE, [2.0], [3.0]), Row(SIZE, [5.0])]
