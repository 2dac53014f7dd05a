"""What the database says about scheduled backups: the last one."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

MIGRATIONS: Final = (
    "CREATE TABLE backups (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL,"
    " elapsed INTEGER NOT NULL, made INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL)"
    " STRICT",
)


class LastBackup(NamedTuple):
    """The last scheduled backup.

    `number` counts them; `elapsed` is the node's own time at its end (storage/elapsed.py), `made`
    the time by the wall clock, both in milliseconds; `size` is in bytes.
    """

    number: int
    elapsed: int
    made: int
    file: str
    size: int


def read_last(connection: sqlite3.Connection) -> LastBackup | None:
    """The last scheduled backup; None when there was none."""
    row = connection.execute("SELECT number, elapsed, made, file, size FROM backups").fetchone()
    return None if row is None else LastBackup(*row)


def store_last(connection: sqlite3.Connection, last: LastBackup) -> None:
    """Store the last scheduled backup in the place of the one before."""
    connection.execute("INSERT OR REPLACE INTO backups VALUES (1, ?, ?, ?, ?, ?)", last)
