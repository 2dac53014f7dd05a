"""Databases that fail as they do on a device, by SQLite's own means."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infernet_edge.storage.database import Database


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """Within the block every write fails, as on a card that the kernel set to read-only."""
    connection = _writer(database)
    connection.execute("PRAGMA query_only = 1")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only = 0")


@contextmanager
def full_disk(database: Database) -> Iterator[None]:
    """Within the block nothing that needs another page can be written."""
    connection = _writer(database)
    (most,) = connection.execute("PRAGMA max_page_count").fetchone()
    connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size instead
    try:
        yield
    finally:
        connection.execute(f"PRAGMA max_page_count = {most}")


def _writer(database: Database) -> sqlite3.Connection:
    assert database._writer is not None  # noqa: SLF001
    return database._writer._connection  # noqa: SLF001 - as a fault


@contextmanager
def slow_disk(database: Database) -> Iterator[None]:
    """Within the block no write that begins there comes to its end."""
    gate = threading.Event()
    database.write(lambda connection: gate.wait(30))
    try:
        yield
    finally:
        gate.set()
