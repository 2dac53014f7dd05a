"""Compares a run with the stored one of the same machine, and stores runs.

The stored tables are in `stored.json`, one for each machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from tests.benchmarks.machine import Run
from tests.benchmarks.results import Row

STORED = Path(__file__).with_name("stored.json")
WORSE = 0.20
"""A row that is worse by a greater part than this fails the comparison."""

Verdict = Literal["same", "better", "worse", "noisy", "new"]


class StoredRow(Struct, frozen=True):
    """Medians, and the spread of `measure`.

    `measure` is the ratio to the floor; without `floor` it is the figure.
    """

    figure: float
    floor: float | None
    measure: float
    spread: float


class StoredRun(Struct, frozen=True):
    """A run. `parts` names the groups that a later run, with `--only`, has measured again."""

    run: Run
    rows: dict[str, StoredRow]
    parts: dict[str, Run] = {}


class Change(Struct, frozen=True):
    """A row against the stored one. `worse` is the part by which it is worse, negative: better."""

    verdict: Verdict
    worse: float = 0.0


def load(path: Path = STORED) -> dict[str, StoredRun]:
    """The stored runs by the key of the machine; none without a file."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, StoredRun])


def store(run: Run, rows: Sequence[Row], *, groups: Sequence[str], path: Path = STORED) -> None:
    """Write the rows as this machine's; `groups` are those measured, empty: all.

    Of a run of some groups the other rows stay as they were stored.
    """
    runs = load(path)
    key = run.machine.key
    found = {row.line.name: _stored(row) for row in rows}
    before = runs.get(key)
    if groups and before is not None:
        kept = {
            name: row for name, row in before.rows.items() if name.partition(".")[0] not in groups
        }
        parts = before.parts | dict.fromkeys(groups, run)
        runs[key] = StoredRun(before.run, kept | found, parts)
    else:
        runs[key] = StoredRun(run, found)
    text = msgspec.json.format(msgspec.json.encode(runs), indent=1)
    path.write_bytes(text + b"\n")


def compare(row: Row, stored: StoredRow | None) -> Change:
    """Better or worse is what differs by more than `WORSE` and by more than the rounds do."""
    if stored is None or (stored.floor is not None) != row.is_ratio:
        return Change("new")
    if abs(row.figure - stored.figure) <= row.line.resolution:
        return Change("same")
    if not stored.measure:
        return Change("worse", float("inf"))
    relative = row.measure / stored.measure
    slower = 1 / relative if row.line.more and relative else relative
    worse = slower - 1
    if abs(worse) <= WORSE:
        return Change("same", worse)
    if abs(worse) <= max(row.spread, stored.spread):
        return Change("noisy", worse)
    return Change("worse" if worse > 0 else "better", worse)


def _stored(row: Row) -> StoredRow:
    floor = row.floor_figure
    return StoredRow(
        _short(row.figure),
        _short(floor) if row.is_ratio and floor is not None else None,
        _short(row.measure),
        _short(row.spread),
    )


def _short(value: float) -> float:
    """Five digits, so that the file stays readable."""
    return float(f"{value:.5g}")
