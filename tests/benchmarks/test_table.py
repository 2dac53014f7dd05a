"""The table for people, and the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import table
from tests.benchmarks.comparison import StoredRow, StoredRun
from tests.benchmarks.results import Line, Row
from tests.benchmarks.test_comparison import RUN
from tests.support import markdown

ROWS = [
    Row(Line("jobs.rate", "jobs/s", "1/s", more=True, goal=0.95), [2000.0], [2500.0]),
    Row(Line("jobs.cpu", "CPU per job", "µs"), [300.0, 330.0, 360.0], [300.0] * 3),
    Row(
        Line("disk.1", "written per job", "bytes", floor="", goal=25e3, goal_of_figure=True),
        [24_123.0],
    ),
    Row(Line("reads.info", "GET /info", "µs", floor="GET /health"), [20.0], [10.0]),
]


def test_the_head_says_on_what_when_and_with_which_commit() -> None:
    head = table.head(RUN)
    for part in ("a CPU, 2 cores, 4.0 GiB, ext4 on SSD", "kernel 6.1", "commit abc", "2026-01-01"):
        assert part in head


def test_every_row_says_figure_floor_ratio_goal_and_whether_it_is_met() -> None:
    _, rate, cpu, disk, info = table.text(ROWS, None).splitlines()
    assert rate.split() == [
        "jobs/s,",
        "1/s",
        "2,000",
        "2,500",
        "0.80",
        "x",
        "≥",
        "0.95",
        "x",
        "missed",
    ]
    assert "1.10 x" in cpu
    assert "9 %" in cpu
    assert disk.split() == ["written", "per", "job,", "bytes", "24,123", "≤", "25000", "met"]
    assert info.startswith("GET /info, µs (floor: GET /health)")


def test_what_has_changed_is_beside_it() -> None:
    before = {
        "jobs.rate": StoredRow(2500, 2500, 1.0, 0.0),
        "jobs.cpu": StoredRow(600, 300, 2.0, 0.9),
        "disk.1": StoredRow(50_000, None, 50_000, 0.0),
    }
    _, rate, cpu, disk, info, missing = table.text(
        ROWS, StoredRun(RUN, before), {"chain": "anvil is missing"}
    ).splitlines()
    assert rate.split()[-6:] == ["missed", "1.00", "x", "25", "%", "worse"]
    assert "noisy" in cpu
    assert disk.endswith("better")
    assert info.endswith("2.00 x")
    assert missing == "not measured: chain: anvil is missing"


def test_the_table_of_the_page_has_the_same_rows() -> None:
    shown = table.markdown(RUN, ROWS, {"chain": "anvil is missing"})
    assert len(markdown.rows(shown)) == len(ROWS)
    assert "| jobs/s, 1/s | 2,000 | 2,500 | 0.80 x |  | ≥ 0.95 x | missed |" in shown
    assert shown.endswith("Not measured: chain: anvil is missing.")


def test_the_page_keeps_what_is_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{table.BEGIN}\n\nold\n\n{table.END}\n\nafter\n")
    table.write_page("new", page)
    table.write_page("newer", page)
    assert page.read_text() == f"# Before\n\n{table.BEGIN}\n\nnewer\n\n{table.END}\n\nafter\n"


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Before\n")
    with pytest.raises(ValueError, match="has no lines"):
        table.write_page("new", page)
    assert page.read_text() == "# Before\n"


def test_the_page_of_the_documentation_has_the_marks() -> None:
    text = table.PAGE.read_text()
    assert text.index(table.BEGIN) < text.index(table.END)
