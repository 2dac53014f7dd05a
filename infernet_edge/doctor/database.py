"""Is the file with the jobs sound?"""

from __future__ import annotations

import sqlite3
import time

from infernet_edge.config.tree import Config
from infernet_edge.damage import corrupt, is_corrupt
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.resting import InUse, open_resting

NAME = "database"
_OLDEST = (3, 37, 0)  # has STRICT tables (https://sqlite.org/stricttables.html)
# Versions that may damage a file when two connections write or checkpoint at once. The node has one
# that does (https://sqlite.org/wal.html#walresetbug); other programs must not.
_ONE_WRITER = (3, 7, 0), (3, 51, 2)
_READING_TIME = 5.0  # seconds
_STEPS = 1000  # of SQLite's virtual machine between two looks at the clock


async def check(case: Case) -> Finding:
    """Read the file through, unless a node has it open: that checked it when it started."""
    if sqlite3.sqlite_version_info < _OLDEST:
        return problem(f"SQLite {sqlite3.sqlite_version} is too old", "upgrade it to 3.37 or newer")
    path = case.config.database_path
    found = await case.blocking(_check_blocking, case.config)
    kept = await case.blocking(lambda: sorted(path.parent.glob(f"{path.name}.corrupt-*[0-9]")))
    if found.level == "ok" and kept:
        return warning(
            f"the node found its file damaged and made a new one of it; the old one is {kept[-1]}",
            f"see whether the disk is well (dmesg), then: rm {path}.corrupt-*",
        )
    return found


def _check_blocking(config: Config) -> Finding:
    path = config.database_path
    version = _version()
    try:
        with open_resting(config) as connection:
            if connection is None:
                return ok(f"{version}, {path} will be made when the node starts")
            whole = _read_through(connection)
    except InUse:
        return ok(f"{version}, {path} is open in the running node")
    except (OSError, sqlite3.OperationalError) as error:
        return warning(
            f"{path} cannot be read ({error})",
            "run this as the node's user; if you did, the disk may be failing: dmesg",
        )
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
        return problem(
            f"{path} is damaged ({error}). The node saves the rows that it can read into a new file"
            " when it starts, and keeps this one beside",
            "see whether the disk is well (dmesg), then start the node; infernet-edge status tells"
            " how many rows were saved",
        )
    megabytes = f"{path.stat().st_size / 1e6:.1f} MB"
    if not whole:
        return ok(f"{version}, no damage in what {_READING_TIME:g} s could read of {megabytes}")
    return ok(f"{version}, {megabytes} without damage")


def _version() -> str:
    text = f"SQLite {sqlite3.sqlite_version}"
    low, high = _ONE_WRITER
    return f"{text} (one writer only)" if low <= sqlite3.sqlite_version_info <= high else text


def _read_through(connection: sqlite3.Connection) -> bool:
    """Whether there was time to read all of it. Raises DatabaseError when it is damaged."""
    give_up_at = time.monotonic() + _READING_TIME
    connection.set_progress_handler(lambda: time.monotonic() > give_up_at, _STEPS)
    try:
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return False
        raise
    if answer != "ok":
        raise corrupt(answer.splitlines()[-1])
    return True
