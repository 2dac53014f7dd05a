"""Copies a database that its node has open, or that none has open, into a new file.

The copy is what was committed when it began: it reads in one transaction, through a connection of
its own that cannot write and does not checkpoint. Commits go on meanwhile; what they write stays in
the WAL until the copy has ended. So it ends when the disk gets short of space, too.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infernet_edge.errors import StorageError
from infernet_edge.storage.damage import corrupt, is_corrupt

UNFINISHED: Final = ".copying"
"""In the name of a copy beside its database, which is removed by its maker or the next start."""

_PAGES_AT_ONCE = 256  # 1 MiB
# A commit waits for what other files have not yet written to the disk (ext4, data=ordered).
_STEPS_PER_SYNC = 4
_MIN_FREE = 32 * 2**20  # bytes beyond `keep_free` that remain free, for the WAL and others
_STEPS_PER_CHECK = 10_000  # of SQLite's virtual machine, between two checks of `stop`

Progress = Callable[[int, int], None]


def copy_database(
    source: Path,
    target: Path,
    *,
    keep_free: int = 0,
    stop: threading.Event | None = None,
    on_progress: Progress = lambda done, total: None,
) -> None:
    """Copy the file `source` to `target`, which must not exist, and check the copy. Blocks.

    When it returns, the copy is on the disk and SQLite found no damage in it. `on_progress` is
    called with the bytes copied so far and in all. At least `keep_free` bytes stay free on the disk
    of `target`. Raises StorageError, with nothing left, when that is impossible, when `stop` is
    set, and when the source is damaged or cannot be read.
    """
    stop = stop or threading.Event()
    try:
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{target} cannot be made: {error.strerror}") from error
    try:
        _copy(source, target, descriptor, keep_free, stop, on_progress)
        check_database(target, stop)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        if stop.is_set():
            raise StorageError("The copy of the database was stopped") from error
        if is_corrupt(error):
            raise StorageError(
                f"The database is damaged ({error}), so it is not copied. Stop the node, and check"
                " it with: infernet-edge doctor"
            ) from error
        raise StorageError(f"The database cannot be copied to {target}: {error}") from error
    except OSError as error:
        target.unlink(missing_ok=True)
        raise StorageError(f"The database cannot be copied to {target}: {error}") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def check_room(folder: Path, size: int, keep_free: int = 0) -> None:
    """Check that `size` bytes have room in a folder beside what stays free; raises StorageError."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise StorageError(f"{folder} cannot be used: {error.strerror}") from error
    missing = size + keep_free + _MIN_FREE - free
    if missing > 0:
        raise StorageError(
            f"There is not enough space in {folder}: {_mebibytes(size)} MiB are needed beside"
            f" {_mebibytes(keep_free + _MIN_FREE)} MiB that stay free, and {free // 2**20} MiB are"
            f" free. Free {_mebibytes(missing)} MiB there"
        )


def _copy(
    source: Path,
    target: Path,
    descriptor: int,
    keep_free: int,
    stop: threading.Event,
    on_progress: Progress,
) -> None:
    reader = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
    )
    writer = sqlite3.connect(target, isolation_level=None)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1024"):
            writer.execute(f"PRAGMA {pragma}").fetchall()
        reader.execute("PRAGMA busy_timeout = 5000")
        # The transaction keeps what is read as it is now, so no commit makes the copy start again
        # (https://sqlite.org/backup.html).
        reader.execute("BEGIN")
        (pages,) = reader.execute("PRAGMA page_count").fetchone()
        (page,) = reader.execute("PRAGMA page_size").fetchone()
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        check_room(target.parent, pages * page, keep_free)
        steps = 0

        def step(status: int, remaining: int, total: int) -> None:
            nonlocal steps
            steps += 1
            if stop.is_set():
                raise StorageError("The copy of the database was stopped")
            if steps % _STEPS_PER_SYNC == 0:
                os.fdatasync(descriptor)
                check_room(target.parent, 0, keep_free)
            on_progress((total - remaining) * page, total * page)

        reader.backup(writer, pages=_PAGES_AT_ONCE, progress=step, sleep=0)
    finally:
        writer.close()
        reader.close()
    os.fsync(descriptor)


def check_database(
    path: Path, stop: threading.Event | None = None, *, thorough: bool = False
) -> None:
    """Read a whole file that no process writes; raises DatabaseError when it is damaged. Blocks.

    A `thorough` check also compares indexes with their tables, which takes longer.
    """
    connection = open_copy(path)
    try:
        if stop is not None:
            connection.set_progress_handler(stop.is_set, _STEPS_PER_CHECK)
        pragma = "integrity_check(1)" if thorough else "quick_check(1)"
        (answer,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    finally:
        connection.close()
    if answer != "ok":
        raise corrupt(str(answer).splitlines()[-1])


def open_copy(path: Path) -> sqlite3.Connection:
    """A connection to read a file that no process writes; raises sqlite3.Error.

    Its header says that it has a WAL; "immutable" reads it without making one.
    """
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(address, uri=True, isolation_level=None)


def remove_unfinished(database: Path) -> None:
    """Remove copies in the folder of a database that a killed node left. Blocks; raises OSError."""
    for left in database.parent.glob(f"{glob.escape(database.name)}{UNFINISHED}*"):
        left.unlink(missing_ok=True)


def name_of_copy(database: Path) -> Path:
    """A free name for a copy in the folder of a database."""
    return database.with_name(f"{database.name}{UNFINISHED}-{secrets.token_hex(4)}")


def _mebibytes(size: int) -> int:
    return -(-size // 2**20)
