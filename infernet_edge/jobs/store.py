"""The jobs table: every job from its acceptance to the end of its retention.

Nobody else keeps job state. What is unfinished is also held here in memory, bounded in number by
`jobs.max_pending`. Inputs are held as far as the memory budget allows, and the others are read when
their turn comes.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, NamedTuple

from infernet_edge.database import Database
from infernet_edge.elapsed import ElapsedTime
from infernet_edge.errors import BadRequest, InfernetEdgeError, Unavailable
from infernet_edge.jobs import contents, listing, retrieval
from infernet_edge.jobs.contents import PIECE, Buffer, Content
from infernet_edge.jobs.identifiers import (
    JobIds,
    first_not_before,
    from_text,
    moment_of,
    to_text,
)
from infernet_edge.jobs.job import FAILED, RUNNING, SUCCESS, Job
from infernet_edge.jobs.listing import JobSummary
from infernet_edge.jobs.reports import Reports
from infernet_edge.jobs.results import Streamed, container_error, json_list
from infernet_edge.jobs.retrieval import Result
from infernet_edge.memory import MemoryBudget

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
    *contents.MIGRATIONS,
    # When a job ended, by the node's own time (elapsed.py); what ended before has 0.
    "ALTER TABLE jobs ADD COLUMN ended INTEGER",
    "UPDATE jobs SET ended = 0 WHERE status != 0",
    "CREATE INDEX ended_jobs ON jobs (ended) WHERE status != 0",
)

MOST_LISTED: Final = 10_000
_END: Final = (2**48 - 2, "")  # a time and an id after those of all jobs
_MOST_DELETED: Final = 8 * 2**20  # bytes in one transaction: others wait meanwhile
_IN_PIECES: Final = b""  # stands in a job's row for what is stored in pieces


def milliseconds() -> int:
    """Now, in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class _Moment(NamedTuple):
    """When something was, by the wall clock and by the node's own time, both in milliseconds."""

    wall: int
    elapsed: int


class ContentGone(InfernetEdgeError):
    """A content was deleted while it was read."""


class JobStore:
    """Stores jobs durably; `pending` are those that are not finished."""

    def __init__(
        self,
        database: Database,
        reports: Reports,
        max_pending: int,
        memory: MemoryBudget,
        elapsed: ElapsedTime,
    ) -> None:
        self._database = database
        self._elapsed = elapsed
        self._reports = reports
        self._max_pending = max_pending
        self._ids = JobIds()
        self._held = memory.reserve("inputs")
        self.pending: dict[bytes, Job] = {}
        self._closed = ""
        self.refusal = ""  # why no new job is taken, e.g. a full disk; "" when they are

    async def load(self) -> list[Job]:
        """Read what an earlier run left unfinished, oldest first. To be called once, at start."""
        await self._database.write(contents.drop_temporary)
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
                in_pieces=True,  # it may be
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

    def check_storage(self) -> None:
        """Raise Unavailable when the storage has no room for anything new."""
        if self.refusal:
            raise Unavailable(self.refusal, retry_after=60)

    async def add(self, jobs: Sequence[Job]) -> None:
        """Store new jobs; when this returns they are on the disk.

        Raises Unavailable when the queue is full or storage is short, StorageError when the file
        cannot be written; then none of them is stored.
        """
        if self._closed:
            raise Unavailable(self._closed)
        self.check_storage()
        if len(jobs) > self.room:
            raise Unavailable(
                "Too many pending jobs", {"pending": len(self.pending), "limit": self._max_pending}
            )
        now = milliseconds()
        for job in jobs:
            job.in_pieces = len(job.data or b"") > PIECE
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
                _IN_PIECES if job.in_pieces else job.data,
            )
            for job in jobs
        ]
        large = [(job.key, job.data) for job in jobs if job.in_pieces and job.data]
        for job in jobs:
            self.pending[job.key] = job
        try:
            await self._database.write(_insert, rows, large)
        except BaseException:
            for job in jobs:
                self.pending.pop(job.key, None)
            raise
        for job in jobs:
            self._hold(job)

    def _hold(self, job: Job) -> None:
        """Hold a job's input until its turn comes, if there is room and its job goes on."""
        data, job.data = job.data, None
        if data and not job.in_pieces and self._held.try_take(len(data)):
            job.data = bytes(data)  # not as a part of a request's body, all of which would stay

    async def take_data(self, job: Job) -> bytes | Content:
        """The input of a job whose turn has come; it is no longer held in memory after that."""
        if job.data is None:
            return await self._database.read(_input_of, job.key)
        data, job.data = job.data, None
        self._held.give_back(len(data))
        return bytes(data)

    async def read(self, content: Content) -> AsyncIterator[bytes]:
        """A stored content, piece by piece.

        Raises ContentGone when the job is deleted meanwhile, StorageError.
        """
        offset = 0
        while offset < content.size:
            piece = await self._database.read(contents.read, content, offset)
            if not piece:
                raise ContentGone("The result was deleted while it was read")
            offset += len(piece)
            yield piece

    async def keep_outputs(self, job: Job, first: int, outputs: Sequence[Buffer]) -> None:
        """Store outputs of a job that goes on; `first` is the number of the first of them.

        They are no results before the job is finished.
        """
        job.in_pieces = True
        await self._database.write(_keep_outputs, job.key, first, outputs)

    async def keep_temporary(self, text: Buffer) -> Content:
        """Store a text that belongs to no job, until `drop_temporary` or the next start."""
        return await self._database.write(contents.add_temporary, text)

    async def drop_temporary(self, content: Content) -> None:
        """Delete what `keep_temporary` stored."""
        await self._database.write(contents.drop_temporary, content.job)

    async def keep_streamed(self, job: Job, position: int, piece: Buffer) -> None:
        """Store a piece of a stream that goes on, see `finish_stream`."""
        job.in_pieces = True
        await self._database.write(contents.add, job.key, contents.STREAMED, position, piece)

    async def save_attempts(self, jobs: Sequence[Job]) -> None:
        """Store how often jobs were started."""
        await self._database.write(_save_attempts, [(job.attempts, job.key) for job in jobs])

    def finish(
        self,
        job: Job,
        status: int,
        result: Buffer,
        intermediate: bytes | None = None,
        kept: int = 0,
    ) -> asyncio.Future[None]:
        """Store how a job ended; `result` is a ContainerResult, `intermediate` a list, as JSON.

        `kept`: so many outputs were stored by `keep_outputs`, instead of the list. The future fails
        with StorageError when that cannot be written: the job stays pending.
        """
        job.in_pieces |= len(result) > PIECE
        written = self._database.write(
            _finish, job.key, status, self._now(), result, intermediate, job.in_pieces, kept
        )
        written.add_done_callback(functools.partial(self._forget, job))
        return written

    def finish_stream(self, job: Job, stream: Streamed) -> asyncio.Future[None]:
        """Store how a streaming job ended; fails as `finish` does.

        The text of a stream that failed is its intermediate result.
        """
        error, rest = stream.error, stream.rest
        if job.in_pieces:
            written = self._database.write(
                _finish_stream, job.key, job.containers[0], self._now(), stream
            )
            written.add_done_callback(functools.partial(self._forget, job))
            return written
        output = b"".join(stream.output(job.containers[0], lambda: (rest,)))
        if error is None:
            return self.finish(job, SUCCESS, output)
        between = json_list([output]) if rest else None
        return self.finish(job, FAILED, container_error(job.containers[0], error), between)

    def _now(self) -> _Moment:
        return _Moment(milliseconds(), self._elapsed.now())

    def _forget(self, job: Job, written: asyncio.Future[None]) -> None:
        if written.cancelled() or written.exception() is not None:
            return
        self.pending.pop(job.key, None)
        if job.data is not None:
            self._held.give_back(len(job.data))
            job.data = None

    async def results(
        self, client: str, identifiers: Sequence[str], *, intermediate: bool
    ) -> list[Result]:
        """The client's jobs in the order asked for, ids that it does not have left out."""
        keys = [(text, from_text(text)) for text in identifiers]
        known = [key for _, key in keys if key is not None]
        found: dict[bytes, Result] = {}
        if known:
            found = await self._database.read(retrieval.find, client, known, intermediate)
        missing = [text for text, key in keys if key not in found]
        reported = await self._reports.statuses(missing) if missing else {}
        results = []
        for text, key in keys:
            if key is not None and key in found:
                results.append(found[key])
            elif text in reported:
                results.append(Result(text, reported[text]))
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
            found = await self._database.read(listing.keys_of, client, end, most)
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
        return await self._database.read(listing.newest, min(limit, MOST_LISTED))

    async def has(self, identifier: str) -> bool:
        """Whether the node itself runs or ran a job with this id, for whatever client."""
        key = from_text(identifier)
        return key is not None and await self._database.read(_exists, key)

    async def delete_finished(self, before: int, most: int) -> int:
        """Delete the oldest finished jobs that ended before a time, which elapsed.py counts.

        Deletes `most` of them, or fewer when they are large; returns how many it deleted.
        """
        return await self._database.write(_delete_finished, before, most)


def _unfinished(connection: sqlite3.Connection) -> tuple[bytes, list[tuple[Any, ...]]]:
    last = connection.execute("SELECT max(id) FROM jobs").fetchone()[0] or b""
    rows = connection.execute(
        "SELECT id, client, kind, containers, requires_proof, attempts FROM jobs"
        " WHERE status = 0 ORDER BY id"
    )
    return last, rows.fetchall()


def _insert(
    connection: sqlite3.Connection,
    rows: Sequence[tuple[Any, ...]],
    large: Sequence[tuple[bytes, Buffer]],
) -> None:
    connection.executemany(
        "INSERT INTO jobs (id, client, kind, status, containers, requires_proof, attempts,"
        " created_at, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    for key, data in large:
        contents.write(connection, key, contents.INPUT, [data])


def _save_attempts(connection: sqlite3.Connection, rows: Sequence[tuple[int, bytes]]) -> None:
    connection.executemany("UPDATE jobs SET attempts = ? WHERE id = ? AND status = 0", rows)


def _finish(
    connection: sqlite3.Connection,
    key: bytes,
    status: int,
    now: _Moment,
    result: Buffer,
    intermediate: bytes | None,
    in_pieces: bool,
    kept: int,
) -> None:
    if in_pieces:
        contents.keep_only(connection, key, [contents.OUTPUT + each for each in range(kept)])
        if len(result) > PIECE:
            contents.write(connection, key, contents.RESULT, [result])
            result = _IN_PIECES
    _end(connection, key, status, now, result, _IN_PIECES if kept else intermediate)


def _end(
    connection: sqlite3.Connection,
    key: bytes,
    status: int,
    now: _Moment,
    result: Buffer,
    intermediate: bytes | None,
) -> None:
    connection.execute(
        "UPDATE jobs SET status = ?, finished_at = ?, ended = ?, result = ?, intermediate = ?,"
        " data = NULL WHERE id = ?",
        (status, *now, result, intermediate, key),
    )


def _keep_outputs(
    connection: sqlite3.Connection, key: bytes, first: int, outputs: Sequence[Buffer]
) -> None:
    for number, output in enumerate(outputs, first):
        contents.write(connection, key, contents.OUTPUT + number, [output])


def _finish_stream(
    connection: sqlite3.Connection, key: bytes, container: str, now: _Moment, stream: Streamed
) -> None:
    """Make the result of the bytes that were stored, piece by piece."""

    def streamed() -> Iterable[bytes]:
        yield from contents.texts(connection, key, contents.STREAMED, stream.stored)
        yield stream.rest

    error = stream.error
    part = contents.RESULT if error is None else contents.OUTPUT
    if error is not None and not any(streamed()):
        contents.keep_only(connection, key, [])
        _end(connection, key, FAILED, now, container_error(container, error), None)
        return
    contents.write(connection, key, part, stream.output(container, streamed))
    contents.keep_only(connection, key, [part])
    if error is None:
        _end(connection, key, SUCCESS, now, _IN_PIECES, None)
    else:
        _end(connection, key, FAILED, now, container_error(container, error), _IN_PIECES)


def _input_of(connection: sqlite3.Connection, key: bytes) -> bytes | Content:
    row = connection.execute(
        "SELECT CASE WHEN length(data) <= ? THEN data END, length(data) FROM jobs WHERE id = ?",
        (PIECE, key),
    ).fetchone()
    data, size = row or (None, None)
    if size == 0:
        return Content(key, contents.INPUT, contents.sizes(connection, key)[contents.INPUT])
    if data is None and size is not None:
        return Content(key, contents.INPUT_COLUMN, size)
    return b"{}" if data is None else bytes(data)


def _exists(connection: sqlite3.Connection, key: bytes) -> bool:
    return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (key,)).fetchone() is not None


def _delete_finished(connection: sqlite3.Connection, before: int, most: int) -> int:
    found = connection.execute(
        "SELECT id, length(result), length(intermediate) FROM jobs"
        " WHERE status != 0 AND ended < ? ORDER BY ended LIMIT ?",
        (before, most),
    ).fetchall()
    keys: list[tuple[bytes]] = []
    size = 0
    for key, *lengths in found:
        size += sum(length or 0 for length in lengths)
        if 0 in lengths:  # in pieces
            size += sum(contents.sizes(connection, key).values())
        keys.append((key,))
        if size > _MOST_DELETED:
            break
    connection.executemany("DELETE FROM jobs WHERE id = ?", keys)
    return len(keys)
