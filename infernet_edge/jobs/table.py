"""The jobs table: its migrations, and the functions that the database threads run on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from infernet_edge.containers.answers.failures import Refusal
from infernet_edge.invariants import invariant
from infernet_edge.jobs import contents
from infernet_edge.jobs.contents import PIECE, Buffer, Content
from infernet_edge.jobs.identifiers import to_text
from infernet_edge.jobs.job import FAILED, SUCCESS, Job, options_of, refusal_of
from infernet_edge.jobs.result_json import Streamed, container_error
from infernet_edge.storage.checksums import Damaged, check, checksum
from infernet_edge.storage.damage import checked_types

MIGRATIONS: Final = (
    # Ids grow, so new rows are side by side. `containers` is comma-separated. The first files had
    # this table WITHOUT ROWID, where a row of more than a quarter of a page is stored in several
    # pages, and twice the bytes are written. All queries are right for both, and both are readable
    # for all versions, so that files keep what they have.
    """CREATE TABLE jobs (
        id BLOB PRIMARY KEY, client TEXT NOT NULL, kind INTEGER NOT NULL, status INTEGER NOT NULL,
        containers TEXT NOT NULL, requires_proof INTEGER NOT NULL, attempts INTEGER NOT NULL,
        created_at INTEGER NOT NULL, finished_at INTEGER,
        data BLOB, result BLOB, intermediate BLOB
    ) STRICT""",
    "CREATE INDEX jobs_by_client ON jobs (client, id)",  # newest first is a scan
    # Start-up reads just these, in the order of their ids.
    "CREATE INDEX unfinished_jobs ON jobs (status, id) WHERE status = 0",
    *contents.MIGRATIONS,
    # When a job ended, in the node's own time (elapsed.py); 0 for what ended before this step.
    "ALTER TABLE jobs ADD COLUMN ended INTEGER",
    "UPDATE jobs SET ended = 0 WHERE status != 0",
    "CREATE INDEX ended_jobs ON jobs (ended) WHERE status != 0",
    # Of the input, of the result with the status, and of the intermediate results (checksums.py).
    "ALTER TABLE jobs ADD COLUMN data_sum INTEGER",
    "ALTER TABLE jobs ADD COLUMN result_sum INTEGER",
    "ALTER TABLE jobs ADD COLUMN intermediate_sum INTEGER",
    "ALTER TABLE jobs ADD COLUMN started_at INTEGER",  # by the wall clock, as created_at
    # 1 for a job that its client ended. It is a failed one: earlier versions know three states.
    "ALTER TABLE jobs ADD COLUMN cancelled INTEGER",
    "ALTER TABLE jobs ADD COLUMN options TEXT",  # JSON, see job.py; NULL for none
    "ALTER TABLE jobs ADD COLUMN refusal TEXT",  # of the container, JSON, see job.py; mostly NULL
)


IN_PIECES: Final = b""  # in a job's row for a content that is stored in pieces
_NO_INPUT: Final = "data = NULL, data_sum = NULL"
# What is in pieces is deleted with them.
_KEPT_INPUT: Final = (
    "data_sum = CASE WHEN length(data) > 0 THEN data_sum END, data = nullif(data, x'')"
)
_MAX_DELETED: Final = 8 * 2**20  # bytes in one transaction: other writes wait meanwhile


class Ending(NamedTuple):
    """When a job ended and began, in milliseconds, and after how many attempts.

    `wall` and `started` are by the wall clock, `elapsed` is the node's own time. `refusal` is text
    of job.py. `keeps_input`: its input stays, if it is in the job's own row.
    """

    wall: int
    elapsed: int
    started: int | None = None
    attempts: int = 0
    cancelled: int | None = None
    refusal: str | None = None
    keeps_input: bool = False


def prepare(connection: sqlite3.Connection) -> None:
    """Delete or complete what an earlier run, or a damaged file, left incomplete."""
    contents.drop_temporary(connection)
    connection.execute("UPDATE jobs SET ended = 0 WHERE status != 0 AND ended IS NULL")


def unfinished(connection: sqlite3.Connection) -> tuple[bytes, list[Job]]:
    """The newest id, and the jobs that are not finished, oldest first, without their inputs."""
    # With a column of the row: damage of the table shows now, which an index alone would hide.
    newest = connection.execute("SELECT id, created_at FROM jobs ORDER BY id DESC LIMIT 1")
    last, _ = newest.fetchone() or (b"", 0)
    rows = connection.execute(
        "SELECT id, client, kind, containers, requires_proof, attempts, started_at, options,"
        " created_at FROM jobs WHERE status = 0 ORDER BY id"
    )
    jobs = []
    with checked_types():
        for key, client, kind, containers, requires_proof, attempts, started, *more in rows:
            options, created = more
            job = Job(
                key,
                client,
                tuple(containers.split(",")),
                None,
                requires_proof=bool(requires_proof),
                kind=kind,
                attempts=int(attempts),
                started_at=started,
                options=options_of(options),
                in_pieces=True,  # it may be
            )
            job.created_at = int(created)
            jobs.append(job)
    return last, jobs


def insert(
    connection: sqlite3.Connection,
    rows: Sequence[tuple[Any, ...]],
    large: Sequence[tuple[bytes, Buffer]],
) -> None:
    """Store new jobs; `large` are the inputs that are too long for their rows."""
    connection.executemany(
        "INSERT INTO jobs (id, client, kind, status, containers, requires_proof, attempts,"
        " created_at, options, data, data_sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*row, checksum(row[-1])) for row in rows],
    )
    for key, data in large:
        contents.write(connection, key, contents.INPUT, [data])


def save_attempts(
    connection: sqlite3.Connection, rows: Sequence[tuple[int, int | None, bytes]]
) -> None:
    """Store how often jobs were started, and when last."""
    connection.executemany(
        "UPDATE jobs SET attempts = ?, started_at = ? WHERE id = ? AND status = 0", rows
    )


def finish(
    connection: sqlite3.Connection,
    key: bytes,
    status: int,
    now: Ending,
    result: Buffer,
    intermediate: bytes | None,
    in_pieces: bool,
    kept: int,
) -> None:
    """Store how a job ended, and delete those of its pieces that are not results."""
    if in_pieces:
        contents.keep_only(connection, key, [contents.OUTPUT + each for each in range(kept)])
        if len(result) > PIECE:
            contents.write(connection, key, contents.RESULT, [result])
            result = IN_PIECES
    _end(connection, key, status, now, result, IN_PIECES if kept else intermediate)


def _end(
    connection: sqlite3.Connection,
    key: bytes,
    status: int,
    now: Ending,
    result: Buffer,
    intermediate: bytes | None,
) -> None:
    # A commit that seemed to fail is repeated, so that a job may end twice, but in one way.
    changed = connection.execute(
        f"UPDATE jobs SET {_KEPT_INPUT if now.keeps_input else _NO_INPUT}, status = ?,"  # noqa: S608
        " finished_at = ?, ended = ?, started_at = ?, attempts = ?, cancelled = ?, refusal = ?,"
        " result = ?, intermediate = ?, result_sum = ?, intermediate_sum = ?"
        " WHERE id = ? AND status IN (0, ?)",
        (
            status,
            *now[:-1],
            result,
            intermediate,
            checksum(result, status),
            checksum(intermediate),
            key,
            status,
        ),
    ).rowcount
    invariant(changed == 1, f"job {to_text(key)} must not end twice, or is not stored")


def keep_outputs(
    connection: sqlite3.Connection, key: bytes, first: int, outputs: Sequence[Buffer]
) -> None:
    """Store outputs of an unfinished job."""
    for number, output in enumerate(outputs, first):
        contents.write(connection, key, contents.OUTPUT + number, [output])


def finish_stream(
    connection: sqlite3.Connection, key: bytes, container: str, now: Ending, stream: Streamed
) -> None:
    """Create the result from the stored bytes, piece by piece."""

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
        _end(connection, key, SUCCESS, now, IN_PIECES, None)
    else:
        _end(connection, key, FAILED, now, container_error(container, error), IN_PIECES)


def input_of(connection: sqlite3.Connection, key: bytes) -> bytes | Content:
    """The input of a job, or a reference to a long one."""
    row = connection.execute(
        "SELECT CASE WHEN length(data) <= ? THEN data END, length(data), data_sum FROM jobs"
        " WHERE id = ?",
        (PIECE, key),
    ).fetchone()
    data, size, stored_sum = row or (None, None, None)
    if data is not None:
        check(stored_sum, data, what="The input of the job")
    if size == 0:
        size = contents.sizes(connection, key).get(contents.INPUT)
        if size is None:
            raise Damaged("The input of the job was damaged on the disk")
        return Content(key, contents.INPUT, size)
    if data is None and size is not None:
        return Content(key, contents.INPUT_COLUMN, size)
    return b"{}" if data is None else bytes(data)


def exists(connection: sqlite3.Connection, key: bytes) -> bool:
    """Whether there is such a job."""
    return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (key,)).fetchone() is not None


def refusal(connection: sqlite3.Connection, key: bytes) -> Refusal | None:
    """What HTTP says of the failure of a job's container; None for nothing."""
    row = connection.execute("SELECT refusal FROM jobs WHERE id = ?", (key,)).fetchone()
    with checked_types():
        return None if row is None else refusal_of(row[0])


def delete_finished(
    connection: sqlite3.Connection, before: int, limit: int, excluded: Collection[bytes]
) -> int:
    """Delete the oldest jobs that ended before a time, except those that are excluded."""
    found = connection.execute(
        "SELECT id, length(result), length(intermediate), length(data) FROM jobs"
        " WHERE status != 0 AND ended < ? ORDER BY ended LIMIT ?",
        (before, limit),
    ).fetchall()
    keys: list[tuple[bytes]] = []
    size = 0
    for key, *lengths in found:
        if key in excluded:
            continue
        size += sum(length or 0 for length in lengths)
        if 0 in lengths:  # in pieces
            size += sum(contents.sizes(connection, key).values())
        keys.append((key,))
        if size > _MAX_DELETED:
            break
    connection.executemany("DELETE FROM jobs WHERE id = ?", keys)
    return len(keys)
