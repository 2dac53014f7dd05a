"""External jobs: they run outside the node and are registered through PUT /api/status."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from infernet_edge.errors import Conflict, Unavailable
from infernet_edge.events.bus import Events
from infernet_edge.jobs.job import RUNNING, STATUS_NAMES
from infernet_edge.jobs.listing import JobDetails
from infernet_edge.jobs.reading.detail import Course
from infernet_edge.jobs.running import job_events
from infernet_edge.schema import JobStatus
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime

MIGRATIONS: Final = (
    """CREATE TABLE reports (
        id TEXT PRIMARY KEY, client TEXT NOT NULL, status INTEGER NOT NULL,
        containers TEXT NOT NULL, created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX reports_by_client ON reports (client, created_at)",
    "CREATE INDEX reports_by_change ON reports (changed_at)",
    "ALTER TABLE reports ADD COLUMN owner TEXT NOT NULL DEFAULT ''",  # '': any client may change it
    # When it changed, in the node's own time (elapsed.py).
    "ALTER TABLE reports ADD COLUMN touched INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX reports_by_change",
    "CREATE INDEX reports_by_touch ON reports (touched)",
)

_LIMIT_REACHED: Final = -1
_NOT_OWNER: Final = -2


class ExternalJobs:
    """Stores external jobs: `count` of them, of which those in `running` are reported as running.

    `on_end` is called with the id of each that is no longer running.
    """

    def __init__(
        self, database: Database, limit: int, elapsed: ElapsedTime, events: Events | None = None
    ) -> None:
        self._database = database
        self._events = events or Events()
        self._elapsed = elapsed
        self.limit = limit
        self.count = 0
        self.running: set[str] = set()
        self.on_end: Callable[[str], None] = lambda identifier: None

    @property
    def pending(self) -> int:
        """How many are reported as running."""
        return len(self.running)

    async def load(self) -> None:
        """Count the stored jobs. To be called once, at start."""
        self.count, running = await self._database.read(_counts)
        self.running = set(running)

    async def record(
        self,
        identifier: str,
        client: str,
        owner: str,
        status: int,
        containers: Sequence[str],
        now: int,
    ) -> None:
        """Register or update a job.

        Raises Unavailable when the limit is reached, Conflict when the job has another owner.
        """
        row = (
            identifier,
            client,
            status,
            ",".join(containers),
            now,
            now,
            owner,
            self._elapsed.now(),
        )
        before = await self._database.write(_record, row, self.limit)
        if before == _LIMIT_REACHED:
            raise Unavailable("Too many reported jobs", {"limit": self.limit})
        if before == _NOT_OWNER:
            raise Conflict("Another client registered this job", {"id": identifier})
        self.count += before is None
        if before != status:
            job_events.external(self._events, identifier, client, status, containers)
        if status == RUNNING:
            self.running.add(identifier)
        else:
            self._end(identifier)

    def _end(self, identifier: str) -> None:
        if identifier in self.running:
            self.running.discard(identifier)
            self.on_end(identifier)

    async def statuses(self, identifiers: Sequence[str]) -> dict[str, JobStatus]:
        """The states of external jobs by id; any client that has the id may read them."""
        found: dict[str, JobStatus] = {
            text: "running" for text in identifiers if text in self.running
        }
        others = [text for text in identifiers if text not in self.running]
        if self.count and others:
            rows = await self._database.read(_statuses, others)
            found.update((text, STATUS_NAMES[status]) for text, status in rows)
        return found

    async def identifiers(
        self, client: str, pending: bool | None, limit: int, before: tuple[int, str]
    ) -> list[tuple[int, str]]:
        """The newest jobs of a client before a (time, id), as (time, id); times in milliseconds."""
        return await self._database.read(_list, client, pending, limit, before)

    async def details(self, identifier: str) -> JobDetails | None:
        """What is known about a job, for the operator; None when it was not registered."""
        return await self._database.read(_details, identifier) if self.count else None

    async def course(self, identifier: str) -> Course | None:
        """When a job was registered, and when it ended; None when it was not registered."""
        return await self._database.read(_course, identifier) if self.count else None

    async def moment_of(self, identifier: str) -> int | None:
        """When a job was registered, in milliseconds since 1970; None when it was not."""
        return await self._database.read(_moment, identifier) if self.count else None

    async def delete_unchanged(self, since: int) -> int:
        """Delete the jobs that did not change since a time of elapsed.py; returns how many."""
        if not self.count:
            return 0
        deleted = await self._database.write(_delete, since)
        self.count -= len(deleted)
        for identifier in deleted:
            self._end(identifier)
        return len(deleted)


def _counts(connection: sqlite3.Connection) -> tuple[int, list[str]]:
    """How many there are, and the ids of those that run."""
    (count,) = connection.execute("SELECT count(*) FROM reports").fetchone()
    rows = connection.execute("SELECT id FROM reports WHERE status = 0")
    return int(count), [str(text) for (text,) in rows]


def _record(connection: sqlite3.Connection, row: tuple[object, ...], limit: int) -> int | None:
    """Insert, up to the limit, or update; returns the previous status, None for a new job."""
    known = connection.execute("SELECT status, owner FROM reports WHERE id = ?", row[:1]).fetchone()
    if known is None:
        (count,) = connection.execute("SELECT count(*) FROM reports").fetchone()
        if count >= limit:
            return _LIMIT_REACHED
    if known is not None and known[1] not in ("", row[-2]):
        return _NOT_OWNER
    connection.execute(
        "INSERT INTO reports (id, client, status, containers, created_at, changed_at, owner,"
        " touched) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " status = excluded.status, containers = excluded.containers,"
        " changed_at = excluded.changed_at, owner = excluded.owner, touched = excluded.touched",
        row,
    )
    return None if known is None else int(known[0])


def _statuses(connection: sqlite3.Connection, identifiers: list[str]) -> list[tuple[str, int]]:
    found = []
    for text in identifiers:
        row = connection.execute("SELECT id, status FROM reports WHERE id = ?", (text,)).fetchone()
        if row is not None:
            found.append((str(row[0]), int(row[1])))
    return found


def _details(connection: sqlite3.Connection, identifier: str) -> JobDetails | None:
    row = connection.execute(
        "SELECT client, status, containers, created_at, changed_at FROM reports WHERE id = ?",
        (identifier,),
    ).fetchone()
    if row is None:
        return None
    client, status, containers, created, changed = row
    return JobDetails(
        id=identifier,
        client=client,
        kind="external",
        status=STATUS_NAMES[status],
        containers=containers.split(",") if containers else [],
        created_at=created,
        finished_at=None if status == RUNNING else changed,
    )


def _list(
    connection: sqlite3.Connection,
    client: str,
    pending: bool | None,
    limit: int,
    before: tuple[int, str],
) -> list[tuple[int, str]]:
    which = {None: "", True: "AND status = 0", False: "AND status != 0"}[pending]
    rows = connection.execute(
        f"SELECT created_at, id FROM reports WHERE client = ?"  # noqa: S608 - one of three texts
        f" AND (created_at, id) < (?, ?) {which} ORDER BY created_at DESC, id DESC LIMIT ?",
        (client, *before, limit),
    )
    return [(int(moment), str(text)) for moment, text in rows]


def _course(connection: sqlite3.Connection, identifier: str) -> Course | None:
    row = connection.execute(
        "SELECT created_at, changed_at, status FROM reports WHERE id = ?", (identifier,)
    ).fetchone()
    if row is None:
        return None
    created, changed, status = row
    is_running = status == RUNNING
    return Course(created, finished_at=None if is_running else changed, is_running=is_running)


def _moment(connection: sqlite3.Connection, identifier: str) -> int | None:
    row = connection.execute(
        "SELECT created_at FROM reports WHERE id = ?", (identifier,)
    ).fetchone()
    return None if row is None else int(row[0])


def _delete(connection: sqlite3.Connection, since: int) -> list[str]:
    """Delete those that did not change since a time; returns their ids."""
    rows = connection.execute("SELECT id FROM reports WHERE touched < ?", (since,)).fetchall()
    connection.execute("DELETE FROM reports WHERE touched < ?", (since,))
    return [str(text) for (text,) in rows]
