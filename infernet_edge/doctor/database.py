"""Is the database undamaged?"""

from __future__ import annotations

import os
import sqlite3
import time

from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.doctor.commands import as_owner, as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, warning
from infernet_edge.doctor.offline_database import InUse, open_offline
from infernet_edge.doctor.user import owner_of, this_user
from infernet_edge.storage.damage import corrupt, is_corrupt

NAME = "database"
NEEDS = ("storage.path",)

_OLDEST = (3, 37, 0)  # has STRICT tables (https://sqlite.org/stricttables.html)
# Versions that may damage a file when two connections write or checkpoint at once. The node has one
# that does (https://sqlite.org/wal.html#walresetbug); other programs must not.
_ONE_WRITER = (3, 7, 0), (3, 51, 2)
_READING_TIME = 5.0  # seconds
_STEPS = 1000  # of SQLite's virtual machine between two checks of the time


async def check(case: Case) -> Finding:
    """Read the file through, unless a node has it open, which checked it at its start."""
    if sqlite3.sqlite_version_info < _OLDEST:
        return problem(
            f"SQLite {sqlite3.sqlite_version} is too old",
            "use the executable, or a Python with SQLite 3.37 or newer",
        )
    path = case.config.database_path
    found = await case.blocking(_check_blocking, case)
    kept = await case.blocking(lambda: sorted(path.parent.glob(f"{path.name}.corrupt-*")))
    if found.level == "ok" and kept:
        return warning(
            f"the node quarantined a damaged database as {kept[-1]}, and made a new one of it",
            "dmesg shows whether the disk is failing; the command deletes the damaged files",
            command=as_owner(owner_of(kept[0]), "rm", "--", *kept),
        )
    return found


def _check_blocking(case: Case) -> Finding:
    path = case.config.database_path
    version = _version()
    try:
        with open_offline(case.config) as connection:
            if connection is None:
                return ok(f"{version}, {path} will be made when the node starts")
            whole = _read_through(connection)
    except InUse:
        return ok(f"{version}, {path} is open in the running node")
    except PermissionError:
        return not_checked(f"{this_user().name} may not read {path}", _AS_OWNER)
    except (OSError, sqlite3.OperationalError) as error:
        if not os.access(path, os.R_OK):
            return not_checked(f"{this_user().name} may not read {path}", _AS_OWNER)
        return problem(
            f"{path} cannot be read ({error})",
            "the disk may be failing: dmesg shows its errors",
        )
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
        return problem(
            f"{path} is damaged ({error}). The node saves the rows that it can read into a new file"
            " when it starts, and keeps this one as a copy",
            "dmesg shows whether the disk is failing; start the node, which reports in its log how"
            " many rows were saved",
            command=as_root("systemctl", "restart", NODE_UNIT) if case.is_service else "",
        )
    megabytes = f"{path.stat().st_size / 1e6:.1f} MB"
    if not whole:
        return ok(f"{version}, no damage in what {_READING_TIME:g} s could read of {megabytes}")
    return ok(f"{version}, {megabytes} without damage")


_AS_OWNER = "run the doctor as the node's user, or with sudo"


def _version() -> str:
    text = f"SQLite {sqlite3.sqlite_version}"
    low, high = _ONE_WRITER
    return f"{text} (one writer only)" if low <= sqlite3.sqlite_version_info <= high else text


def _read_through(connection: sqlite3.Connection) -> bool:
    """Whether all of it was read in time. Raises DatabaseError when it is damaged."""
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
