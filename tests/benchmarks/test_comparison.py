"""What is worse, what is noise, and what is stored."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.benchmarks import comparison
from tests.benchmarks.comparison import Change, StoredRow, compare, load, store
from tests.benchmarks.machine import Machine, Run
from tests.benchmarks.results import Line, Row

RATE = Line("jobs.rate", "jobs", "1/s", more=True)
CPU = Line("jobs.cpu", "CPU", "µs")
SIZE = Line("disk.size", "written", "bytes", floor="", resolution=10)
RUN = Run(Machine("a CPU", 2, 4096, "ext4 on SSD"), "6.1", "3.11.2", "abc", "2026-01-01", 3, 0.1)


def stored(measure: float, spread: float = 0.0) -> StoredRow:
    return StoredRow(100 * measure, 100.0, measure, spread)


@pytest.mark.parametrize(
    ("line", "now", "verdict"),
    [
        (RATE, 1.0, "same"),
        (RATE, 0.84, "same"),
        (RATE, 0.83, "worse"),
        (RATE, 1.19, "same"),
        (RATE, 1.3, "better"),
        (RATE, 0.0001, "worse"),
        (CPU, 1.19, "same"),
        (CPU, 1.21, "worse"),
        (CPU, 0.7, "better"),
    ],
)
def test_a_fifth_is_too_much(line: Line, now: float, verdict: str) -> None:
    row = Row(line, [100 * now] * 3, [100.0] * 3)
    assert compare(row, stored(1.0)).verdict == verdict


def test_a_slow_machine_changes_no_ratio() -> None:
    """Jobs take twice as long as when the table was stored, those of the floor too."""
    assert compare(Row(CPU, [200.0] * 3, [200.0] * 3), stored(1.0)).verdict == "same"


def test_a_difference_within_the_spread_is_noise() -> None:
    """Whichever of the two runs it is whose rounds differ that much."""
    noisy = Row(CPU, [100.0, 150.0, 200.0], [100.0] * 3)
    assert compare(noisy, stored(1.2)).verdict == "noisy"
    assert compare(Row(CPU, [150.0] * 3, [100.0] * 3), stored(1.1, 0.5)).verdict == "noisy"
    # More than the spread.
    assert compare(noisy, stored(0.5)).verdict == "worse"


def test_figures_below_the_resolution_are_the_same() -> None:
    assert compare(Row(SIZE, [14.0]), StoredRow(5.0, None, 5.0, 0.0)).verdict == "same"
    assert compare(Row(SIZE, [16.0]), StoredRow(5.0, None, 5.0, 0.0)).verdict == "worse"


def test_what_was_nothing_may_become_something() -> None:
    was = StoredRow(0.0, None, 0.0, 0.0)
    assert compare(Row(SIZE, [0.0]), was).verdict == "same"
    assert compare(Row(SIZE, [10.0]), was).verdict == "same"
    assert compare(Row(SIZE, [11.0]), was) == Change("worse", float("inf"))


def test_a_row_without_a_like_is_new() -> None:
    row = Row(SIZE, [100.0])
    assert compare(row, None).verdict == "new"
    # It had a floor then, or has none above zero now.
    assert compare(row, stored(1.0)).verdict == "new"
    assert compare(Row(CPU, [1.0], [0.0]), stored(1.0)).verdict == "new"


def test_what_is_stored_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "stored.json"
    assert load(path) == {}
    store(RUN, [Row(CPU, [150.123456], [100.0]), Row(SIZE, [5.0])], groups=(), path=path)
    found = load(path)[RUN.machine.key]
    assert found.run == RUN
    assert found.rows["jobs.cpu"] == StoredRow(150.12, 100.0, 1.5012, 0.0)
    assert found.rows["disk.size"].floor is None


def test_another_machine_has_rows_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "stored.json"
    other = msgspec.structs.replace(RUN, machine=Machine("an ARM", 4, 2048, "ext4 on SD card"))
    store(RUN, [Row(SIZE, [5.0])], groups=(), path=path)
    store(other, [Row(SIZE, [7.0])], groups=(), path=path)
    assert {key: run.rows["disk.size"].figure for key, run in load(path).items()} == {
        RUN.machine.key: 5.0,
        other.machine.key: 7.0,
    }


def test_a_run_of_some_groups_replaces_only_these(tmp_path: Path) -> None:
    path = tmp_path / "stored.json"
    gone = Line("disk.gone", "", "", floor="")
    store(RUN, [Row(CPU, [1.0]), Row(SIZE, [5.0]), Row(gone, [1.0])], groups=(), path=path)
    later = msgspec.structs.replace(RUN, commit="def")
    store(later, [Row(SIZE, [6.0])], groups=["disk"], path=path)
    found = load(path)[RUN.machine.key]
    assert {name: row.figure for name, row in found.rows.items()} == {
        "jobs.cpu": 1.0,
        "disk.size": 6.0,
    }
    assert found.run.commit == "abc"
    assert found.parts["disk"].commit == "def"


def test_the_stored_tables_of_the_repository_can_be_read() -> None:
    for key, run in load(comparison.STORED).items():
        assert key == run.run.machine.key
        assert run.rows
