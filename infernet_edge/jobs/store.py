"""The jobs table: every job from its acceptance to the end of its retention.

Nobody else keeps job state. What is unfinished is also held here in memory, bounded in number by
`jobs.max_pending` and in bytes by `_MOST_HELD`; inputs over that are read when their turn comes.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from infernet_edge.database import Database
from infernet_edge.errors import BadRequest, TooLarge, Unavailable
from infernet_edge.jobs.identifiers import (
    JobIds,
    first_not_before,
    from_text,
    moment_of,
    to_text,
)
from infernet_edge.jobs.job import RUNNING, STATUS_NAMES, STREAM, Job
from infernet_edge.jobs.reports import Reports
from infernet_edge.schema import JobResult, JobStatus

MIGRATIONS: Final = (
    # Clustered by id: ids grow, so new rows stand together. `containers` is comma-separated.
    """CREATE TABLE jobs (
        id BLOB PRIMARY KEY, client TEXT NOT NULL, kind INTEGER NOT NULL, status INTEGER NOT NULL,
        containers TEXT NOT NULL, requires_proof INTEGER NOT NULL, attempts INTEGER NOT NULL,
        created_at INTEGER NOT NULL, finished_at INTEGER,
        data BLOB, result BLOB, intermediate BLOB
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX jobs_by_client ON jobs (client)",  # the id is part of it: newest first is a scan
    "CREATE INDEX unfinished_jobs ON jobs (status) WHERE status = 0",  # start-up reads just these
)

MOST_LISTED: Final = 10_000
_END: Final = (2**48 - 2, "")  # a time and an id after those of all jobs
_MOST_HELD = 32 * 2**20  # bytes of inputs in memory
_MOST_ANSWERED = 32 * 2**20  # bytes of results in one answer, unless a single one is larger
_CHUNK = 500  # ids per query


def milliseconds() -> int:
    """Now, in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


_Row = tuple[int, bytes | None, bytes | None]  # status, result, intermediate results


class JobSummary(Struct, frozen=True):
    """A job as the operator sees it; times in milliseconds since 1970."""

    id: str
    client: str
    kind: str
    status: JobStatus
    containers: list[str]
    attempts: int
    created_at: int
    finished_at: int | None


class JobStore:
    """Stores jobs durably; `pending` are those that are not finished."""

    def __init__(self, database: Database, reports: Reports, max_pending: int) -> None:
        self._database = database
        self._reports = reports
        self._max_pending = max_pending
        self._ids = JobIds()
        self.held_bytes = 0
        self.pending: dict[bytes, Job] = {}
        self._closed = ""
        self.refusal = ""  # why no new job is taken, e.g. a full disk; "" when they are

    async def load(self) -> list[Job]:
        """Read what an earlier run left unfinished, oldest first. To be called once, at start."""
        last, rows = await self._database.read(_unfinished)
        self._ids = JobIds(last)
        for key, client, kind, containers, requires_proof, attempts in rows:
            self.pending[key] = Job(
                key,
                client,
                tuple(containers.split(",")),
                None,
                requires_proof=bool(requires_proof),
                kind=kind,
                attempts=attempts,
            )
        return list(self.pending.values())

    @property
    def room(self) -> int:
        """How many more jobs may be pending."""
        return max(0, self._max_pending - len(self.pending))

    def close_intake(self, reason: str) -> None:
        """Take no new job from now on."""
        self._closed = reason

    def new_key(self) -> bytes:
        """A key for a new job."""
        return self._ids.next()

    async def add(self, jobs: Sequence[Job]) -> None:
        """Store new jobs; when this returns they are on the disk.

        Raises Unavailable when the queue is full or storage is short, StorageError when the file
        cannot be written; then none of them is stored.
        """
        if self._closed:
            raise Unavailable(self._closed)
        if self.refusal:
            raise Unavailable(self.refusal, retry_after=60)
        if len(jobs) > self.room:
            raise Unavailable(
                "Too many pending jobs", {"pending": len(self.pending), "limit": self._max_pending}
            )
        now = milliseconds()
        rows = [
            (
                job.key,
                job.client,
                job.kind,
                RUNNING,
                ",".join(job.containers),
                job.requires_proof,
                job.attempts,
                now,
                job.data,
            )
            for job in jobs
        ]
        for job in jobs:
            self.pending[job.key] = job
        try:
            await self._database.write(_insert, rows)
        except BaseException:
            for job in jobs:
                self.pending.pop(job.key, None)
            raise
        for job in jobs:
            self._hold(job)

    def _hold(self, job: Job) -> None:
        size = len(job.data or b"")
        if self.held_bytes + size > _MOST_HELD:
            job.data = None
        else:
            self.held_bytes += size

    async def take_data(self, job: Job) -> bytes:
        """The input of a job whose turn has come; it is no longer held in memory after that."""
        if job.data is None:
            return await self._database.read(_data_of, job.key)
        data, job.data = job.data, None
        self.held_bytes -= len(data)
        return data

    async def save_attempts(self, jobs: Sequence[Job]) -> None:
        """Store how often jobs were started."""
        await self._database.write(_save_attempts, [(job.attempts, job.key) for job in jobs])

    def finish(
        self, job: Job, status: int, result: bytes, intermediate: bytes | None = None
    ) -> asyncio.Future[None]:
        """Store how a job ended; `result` is a ContainerResult, `intermediate` a list, as JSON.

        The future fails with StorageError when that cannot be written: the job stays pending.
        """
        written = self._database.write(
            _finish, job.key, status, milliseconds(), result, intermediate
        )
        written.add_done_callback(functools.partial(self._forget, job))
        return written

    def _forget(self, job: Job, written: asyncio.Future[None]) -> None:
        if written.cancelled() or written.exception() is not None:
            return
        self.pending.pop(job.key, None)
        if job.data is not None:
            self.held_bytes -= len(job.data)
            job.data = None

    async def results(
        self, client: str, identifiers: Sequence[str], *, intermediate: bool
    ) -> list[JobResult]:
        """The client's jobs in the order asked for, ids that it does not have left out.

        Raises TooLarge when they are more than fits into one answer.
        """
        keys = [(text, from_text(text)) for text in identifiers]
        known = [key for _, key in keys if key is not None]
        rows: dict[bytes, _Row] = {}
        if known:
            rows = await self._database.read(_select, client, known, intermediate)
        missing = [text for text, key in keys if key not in rows]
        reported = await self._reports.results(missing) if missing else {}
        results = []
        for text, key in keys:
            if key is not None and (row := rows.get(key)) is not None:
                status, result, between = row
                results.append(
                    JobResult(
                        to_text(key),
                        STATUS_NAMES[status],
                        None if result is None else Raw(result),
                        _intermediate(between) if intermediate else UNSET,
                    )
                )
            elif text in reported:
                results.append(reported[text])
        return results

    async def identifiers(
        self,
        client: str,
        *,
        pending: bool | None = None,
        limit: int = MOST_LISTED,
        before: str = "",
    ) -> list[str]:
        """Ids of the client's jobs, oldest first: the newest `limit` of those older than `before`.

        `pending` keeps the unfinished (True) or the finished ones (False) only.
        """
        moment, text = await self._cursor(before)
        end = first_not_before(moment, text)
        mine = sorted(key for key, job in self.pending.items() if job.client == client)
        if pending:
            found = [key for key in mine if key < end][-limit:]
        else:
            most = limit + len(mine) if pending is False else limit
            found = await self._database.read(_list, client, end, most)
            if pending is False:
                unfinished = set(mine)
                found = [key for key in found if key not in unfinished]
            found = found[:limit][::-1]
        dated = [(moment_of(key), to_text(key)) for key in found]
        if self._reports.count:
            dated += await self._reports.identifiers(client, pending, limit, (moment, text))
            dated = sorted(dated)[-limit:]
        return [each for _, each in dated]

    async def _cursor(self, before: str) -> tuple[int, str]:
        """The place in a list, which goes by time (milliseconds) and id, at which a job stands.

        "" is the end of every list. Raises BadRequest when there can be no such job.
        """
        if not before:
            return _END
        if (moment := await self._reports.moment_of(before)) is not None:
            return moment, before
        # Another UUID, such as the id of an external job that was deleted, is no place in a list.
        key = from_text(before)
        if key is not None and moment_of(key) <= self._ids.latest:
            return moment_of(key), to_text(key)
        raise BadRequest("before: expected the id of a job", {"field": "before"})

    async def newest(self, limit: int) -> list[JobSummary]:
        """The newest jobs of all clients, newest first; for the operator."""
        return await self._database.read(_newest, min(limit, MOST_LISTED))

    async def has(self, identifier: str) -> bool:
        """Whether the node itself runs or ran a job with this id, for whatever client."""
        key = from_text(identifier)
        return key is not None and await self._database.read(_exists, key)

    async def delete_finished(self, before: int, most: int) -> int:
        """Delete the oldest finished jobs that finished before a time (milliseconds).

        Looks at the `most` oldest ones; returns how many it deleted.
        """
        return await self._database.write(_delete_finished, before, most)


def _intermediate(stored: bytes | None) -> Raw | UnsetType:
    return Raw(b"[]" if stored is None else stored)


def _unfinished(connection: sqlite3.Connection) -> tuple[bytes, list[tuple[Any, ...]]]:
    last = connection.execute("SELECT max(id) FROM jobs").fetchone()[0] or b""
    rows = connection.execute(
        "SELECT id, client, kind, containers, requires_proof, attempts FROM jobs"
        " WHERE status = 0 ORDER BY id"
    )
    return last, rows.fetchall()


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.executemany(
        "INSERT INTO jobs (id, client, kind, status, containers, requires_proof, attempts,"
        " created_at, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _save_attempts(connection: sqlite3.Connection, rows: Sequence[tuple[int, bytes]]) -> None:
    connection.executemany("UPDATE jobs SET attempts = ? WHERE id = ? AND status = 0", rows)


def _finish(
    connection: sqlite3.Connection,
    key: bytes,
    status: int,
    now: int,
    result: bytes,
    intermediate: bytes | None,
) -> None:
    connection.execute(
        "UPDATE jobs SET status = ?, finished_at = ?, result = ?, intermediate = ?, data = NULL"
        " WHERE id = ?",
        (status, now, result, intermediate, key),
    )


def _data_of(connection: sqlite3.Connection, key: bytes) -> bytes:
    row = connection.execute("SELECT data FROM jobs WHERE id = ?", (key,)).fetchone()
    return row[0] if row and row[0] is not None else b"{}"


def _select(
    connection: sqlite3.Connection, client: str, keys: list[bytes], intermediate: bool
) -> dict[bytes, _Row]:
    columns = "id, status, result, intermediate" if intermediate else "id, status, result, NULL"
    found: dict[bytes, _Row] = {}
    size = 0
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        for key, status, result, between in connection.execute(
            f"SELECT {columns} FROM jobs WHERE client = ? AND id IN ({marks})",  # noqa: S608 - only our own text varies
            (client, *chunk),
        ):
            size += len(result or b"") + len(between or b"")
            if size > _MOST_ANSWERED and found:
                raise TooLarge(
                    "These results are too large for one answer: ask for fewer ids at a time",
                    {"limit": _MOST_ANSWERED},
                )
            found[key] = (status, result, between)
    return found


def _newest(connection: sqlite3.Connection, limit: int) -> list[JobSummary]:
    rows = connection.execute(
        "SELECT id, client, kind, status, containers, attempts, created_at, finished_at"
        " FROM jobs ORDER BY id DESC LIMIT ?",
        (limit,),
    )
    return [
        JobSummary(
            to_text(key),
            client,
            "stream" if kind == STREAM else "direct",
            STATUS_NAMES[status],
            containers.split(","),
            attempts,
            created,
            finished,
        )
        for key, client, kind, status, containers, attempts, created, finished in rows
    ]


def _list(connection: sqlite3.Connection, client: str, end: bytes, limit: int) -> list[bytes]:
    rows = connection.execute(
        "SELECT id FROM jobs WHERE client = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (client, end, limit),
    )
    return [key for (key,) in rows]


def _exists(connection: sqlite3.Connection, key: bytes) -> bool:
    return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (key,)).fetchone() is not None


def _delete_finished(connection: sqlite3.Connection, before: int, most: int) -> int:
    return connection.execute(
        "DELETE FROM jobs WHERE finished_at < ? AND id IN"
        " (SELECT id FROM jobs WHERE status != 0 ORDER BY id LIMIT ?)",
        (before, most),
    ).rowcount
