"""The node's own time, which determines ages instead of the wall clock.

A device without a battery for its clock may wake up in 1970, and be set forward by decades a minute
later. So ages are counted in milliseconds for which the node has run, over all its runs. The time
between two runs is taken from the wall clock, but counts only up to a limit each time.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
import time
from typing import Final

from infernet_edge.clock import milliseconds
from infernet_edge.logs import log_event
from infernet_edge.storage.database import Database

logger = logging.getLogger(__name__)

MIGRATIONS: Final = (
    "CREATE TABLE elapsed (one INTEGER PRIMARY KEY CHECK (one = 1), elapsed INTEGER NOT NULL,"
    " wall INTEGER NOT NULL, latest_wall INTEGER NOT NULL) STRICT",
    "CREATE TABLE age_marks (name TEXT NOT NULL, elapsed INTEGER NOT NULL, number INTEGER NOT NULL,"
    " PRIMARY KEY (name, elapsed)) STRICT, WITHOUT ROWID",
)

_MAX_CREDITED = 24 * 3600 * 1000  # milliseconds counted for the time between two runs
_SAVE_PERIOD = 6 * 3600 * 1000  # milliseconds; each time is a write to the disk
_MAX_ELAPSED = 100 * 365 * 24 * 3600 * 1000  # milliseconds; more is damaged
_JUMP = 60_000  # milliseconds by which the wall clock may differ from the time that passed


class ElapsedTime:
    """Milliseconds that have passed since the database was created."""

    def __init__(self, database: Database, min_age: float = math.inf) -> None:
        """`min_age`: the shortest age that is compared, in seconds; a restart adds at most half."""
        self._database = database
        self._max_credited = int(min(_MAX_CREDITED, min_age * 1000 // 2))
        self._base = 0
        self._began = _running()
        self._saved = 0
        self._last_check = (milliseconds(), _running())
        self.times_set = 0
        """How often `check` found that the wall clock was set, in this run."""
        self.latest_wall = 0
        """The latest time that the wall clock ever showed, in milliseconds since 1970."""

    def now(self) -> int:
        """Milliseconds that have passed. Never less than before, also after a restart."""
        return self._base + _running() - self._began

    async def load(self) -> None:
        """Continue from the last run. To be called once, at start; raises StorageError."""
        self._base, wall, self.latest_wall = await self._database.read(_read)
        if wall:
            away = milliseconds() - wall
            self._base += min(max(0, away), self._max_credited)
            if away < -_JUMP:
                log_event(logger, "clock.fell_behind", logging.WARNING, seconds=-away // 1000)
        self._began = _running()
        await self.save()

    async def save(self) -> None:
        """Store how much has passed; raises StorageError."""
        self.latest_wall = max(self.latest_wall, milliseconds())
        self._saved = self.now()
        await self._database.write(_save, self._saved, milliseconds(), self.latest_wall)

    async def check(self) -> None:
        """Log when the wall clock was set, and store the time regularly; raises StorageError."""
        wall, running = milliseconds(), _running()
        set_by = (wall - self._last_check[0]) - (running - self._last_check[1])
        self._last_check = (wall, running)
        if abs(set_by) > _JUMP:
            self.times_set += 1
            log_event(logger, "clock.set", logging.WARNING, seconds=set_by // 1000)
        if self.now() - self._saved >= _SAVE_PERIOD or abs(set_by) > _JUMP:
            await self.save()


def _running() -> int:
    """Milliseconds of a clock that cannot be set and also runs while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def read_latest_wall(connection: sqlite3.Connection) -> int:
    """The latest time that the wall clock ever showed, in milliseconds since 1970."""
    return _read(connection)[2]


def _read(connection: sqlite3.Connection) -> tuple[int, int, int]:
    row = connection.execute("SELECT elapsed, wall, latest_wall FROM elapsed").fetchone()
    return (int(row[0]), int(row[1]), int(row[2])) if row else (_of_rows(connection), 0, 0)


def _of_rows(connection: sqlite3.Connection) -> int:
    """The latest time in other tables, for when this table was lost with a damaged file."""
    latest = 0
    for query in (
        "SELECT max(ended) FROM jobs WHERE status != 0",
        "SELECT max(touched) FROM reports",
    ):
        with contextlib.suppress(sqlite3.OperationalError):  # a database without that table
            latest = max(latest, connection.execute(query).fetchone()[0] or 0)
    return min(latest, _MAX_ELAPSED)


def _save(connection: sqlite3.Connection, elapsed: int, wall: int, latest_wall: int) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO elapsed VALUES (1, ?, ?, ?)", (elapsed, wall, latest_wall)
    )


class AgeMarks:
    """Stores the highest row number of a table regularly, to find out later which rows are old."""

    def __init__(self, database: Database, elapsed: ElapsedTime) -> None:
        self._database = database
        self._elapsed = elapsed

    async def older_than(self, table: str, age: int) -> int:
        """The highest number of a row that a table had `age` milliseconds ago; 0 for none.

        To be called regularly: the age of a row is known only as exactly as the calls are frequent.
        Raises StorageError.
        """
        return await self._database.write(_mark, table, self._elapsed.now(), age)


def _mark(connection: sqlite3.Connection, table: str, now: int, age: int) -> int:
    (newest,) = connection.execute(f"SELECT max(number) FROM {table}").fetchone()  # noqa: S608 - ours
    (last,) = connection.execute(
        "SELECT max(number) FROM age_marks WHERE name = ?", (table,)
    ).fetchone()
    if newest is not None and newest != last:
        connection.execute(
            "INSERT OR REPLACE INTO age_marks VALUES (?, ?, ?)", (table, now, newest)
        )
    found = connection.execute(
        "SELECT elapsed, number FROM age_marks WHERE name = ? AND elapsed <= ?"
        " ORDER BY elapsed DESC LIMIT 1",
        (table, now - age),
    ).fetchone()
    if found is None:
        return 0
    connection.execute("DELETE FROM age_marks WHERE name = ? AND elapsed < ?", (table, found[0]))
    return int(found[1])
