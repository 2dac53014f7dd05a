"""The pages of a database file: their size, and how many the write-ahead log takes.

What each of them costs is in .github/decisions/hot-paths.md.
"""

from __future__ import annotations

import sqlite3
from typing import Final

PAGE_BYTES: Final = 2048
"""Of a new file. A commit of one small job writes about seven pages, so smaller ones wear out an SD
card less; with larger ones, large jobs take less CPU."""

MAX_LOG_BYTES: Final = 4 * 2**20  # of the write-ahead log, then it is copied into the main file


def prepare_file(connection: sqlite3.Connection) -> None:
    """Set the form of a new file; one that has tables keeps its own."""
    for pragma in (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def limit_log(connection: sqlite3.Connection) -> None:
    """Set when the log is copied into the main file, whatever the size of the file's pages.

    A longer one, of a large transaction or behind a long reading, is then shortened.
    """
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA wal_autocheckpoint = {MAX_LOG_BYTES // page}").fetchall()
    connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}").fetchall()
