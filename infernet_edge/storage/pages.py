"""The pages of a database file and of its write-ahead log: their size, and how the log grows.

What each of them costs is in .github/decisions/hot-paths.md.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = 2048
"""Of a new file. A commit of one small job writes about seven pages, so smaller ones wear out an SD
card less; with larger ones, large jobs take less CPU."""

MAX_LOG_BYTES: Final = 4 * 2**20  # of the write-ahead log, then it is copied into the main file
_LOG_STEP: Final = 64 * 2**10  # bytes by which the log grows


def prepare_file(connection: sqlite3.Connection) -> None:
    """Set the form of a new file; one that has tables keeps its own."""
    for pragma in (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def limit_log(connection: sqlite3.Connection) -> None:
    """Set when the log is copied into the main file, whatever the size of the file's pages."""
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA wal_autocheckpoint = {MAX_LOG_BYTES // page}").fetchall()


class LogSpace:
    """Lengthens the write-ahead log in advance, by more than one commit needs.

    Each commit that lengthens a file makes its file system write the new length, too: several
    blocks for the one or two of a small commit. SQLite overwrites what is here, and after a crash
    reads the log up to the first frame that is not valid (https://sqlite.org/walformat.html), as
    zeros are not. Only the thread of the writer may use it, between its commits.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the database's own file."""
        self._path = path.with_name(f"{path.name}-wal")
        self._size = 0  # as it was after the last call

    def add(self) -> None:
        """Lengthen the log, if the last commits did. Blocks, for much less than a commit does."""
        try:
            size, before = self._path.stat().st_size, self._size
            self._size = size
            if size <= before or size >= MAX_LOG_BYTES:
                return
            log = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                self._size += os.pwrite(log, bytes(_LOG_STEP), size)
            finally:
                os.close(log)
        except OSError:
            return  # without space, or a log: the next commit reports what concerns it
