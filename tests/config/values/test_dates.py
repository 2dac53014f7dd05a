"""Dates and periods as users write them."""

from __future__ import annotations

import pytest

from infernet_edge.config.values.dates import parse_date, parse_period

HOUR = 3600 * 1000
NEW_YEAR_2027 = 1_798_761_600_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-01", NEW_YEAR_2027),
        (" 2027-01-01 ", NEW_YEAR_2027),
        ("2027-01-01T00:00Z", NEW_YEAR_2027),
        ("2027-01-01T12:00:00Z", NEW_YEAR_2027 + 12 * HOUR),
        ("2027-01-01 12:00:00", NEW_YEAR_2027 + 12 * HOUR),
        ("2027-01-01T01:00:00+01:00", NEW_YEAR_2027),
        ("2026-12-31T19:00:00-05:00", NEW_YEAR_2027),
        ("1969-01-01", 0),
        ("9999-12-31", 253_402_214_400_000),
    ],
)
def test_dates(text: str, moment: int) -> None:
    assert parse_date(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "2027", "2027-1-1", "2027-13-01", "2027-02-30", "01.01.2027", "20270101"),
        *(
            "2027-01-01T",
            "2027-01-01T25:00",
            "2027-01-01T12:00:00X",
            "2027-W01-1",
            "30d",
            "\u0661-1-1",
        ),
        *("0000-01-01", "2027-01-01T12:00:00+99:00", "2027-01-01\x00"),
    ],
)
def test_no_dates(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("text", "hours"), [("1h", 1), ("12h", 12), ("30d", 720), ("8w", 1344), (" 1d ", 24)]
)
def test_periods(text: str, hours: int) -> None:
    assert parse_period(text) == hours * HOUR


@pytest.mark.parametrize(
    "text", ["", "0d", "-1d", "1.5d", "30", "d", "30m", "30D", "1d2h", "999999d", "\u0663d", "inf"]
)
def test_no_periods(text: str) -> None:
    assert parse_period(text) is None
