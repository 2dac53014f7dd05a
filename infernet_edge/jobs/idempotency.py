"""Answers that are given again to a repeated request with the same Idempotency-Key.

The answer is stored in the transaction that stores its jobs, so that after a crash either both are
there or neither. The header is that of draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from infernet_edge.config.model import Storage
from infernet_edge.errors import Conflict, StorageError, Unprocessable
from infernet_edge.jobs import table
from infernet_edge.jobs.contents import Buffer
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime

KEPT_SECONDS: Final = 24 * 3600
"""For which an answer is remembered, in the node's own time (elapsed.py)."""

MAX_BYTES: Final = 32 * 2**20
"""Bytes of all of them, and at most an eighth of storage.max_bytes; the oldest are dropped."""

MIGRATIONS: Final = (
    # `request` is a checksum of the request, `accepted` the node's own time. An answer that is not
    # final lacks those of delegated subscriptions, which may be accepted twice.
    """CREATE TABLE remembered_answers (
        client TEXT NOT NULL, key TEXT NOT NULL, request BLOB NOT NULL, answer BLOB NOT NULL,
        is_final INTEGER NOT NULL, accepted INTEGER NOT NULL, PRIMARY KEY (client, key)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX remembered_answers_by_age ON remembered_answers (accepted)",
)

_BUSY_TIME = 30.0  # seconds to wait for the answer to the same request, sent at the same time
_ROW_BYTES = 64  # of a row, besides its texts
_LONG = 1024  # bytes from which on an answer is compressed
_AT_ONCE = 1000  # rows deleted in one transaction
_NEVER: Final = 2**62  # later than every time
_COMPRESSED: Final = b"x"  # how the format of zlib begins (RFC 1950), and no JSON does
_SIZE: Final = f"length(client) + length(key) + length(request) + length(answer) + {_ROW_BYTES}"


def part_of(storage: Storage) -> int:
    """The bytes that remembered answers may take: at most a part of the storage."""
    return min(MAX_BYTES, storage.max_bytes // 8)


class Remembered(NamedTuple):
    """A stored answer: JSON text; see MIGRATIONS for `is_final`."""

    answer: bytes
    is_final: bool


class Record(NamedTuple):
    """A row: what is remembered of one request."""

    client: str
    key: str
    request: bytes
    answer: bytes
    is_final: bool
    accepted: int

    @property
    def size(self) -> int:
        """Bytes in the database, approximately."""
        texts = (self.client, self.key, self.request, self.answer)
        return sum(map(len, texts)) + _ROW_BYTES


class RememberedAnswers:
    """The answers of the last 24 hours, by client and key."""

    def __init__(self, database: Database, elapsed: ElapsedTime) -> None:
        self._database = database
        self._elapsed = elapsed
        self._busy: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._deleting: asyncio.Future[tuple[int, int]] | None = None
        self.max_bytes = MAX_BYTES
        self.count = 0
        self.bytes = 0

    async def load(self) -> None:
        """Count what is stored; once, at start."""
        self.count, self.bytes = await self._database.read(_totals)

    @asynccontextmanager
    async def request(
        self, client: str, key: str, checksum: bytes
    ) -> AsyncIterator[Remembered | None]:
        """What is remembered of a request, None for a new one; the same request waits meanwhile.

        Raises Unprocessable when the key was used for another request, Conflict when the same
        request is still in progress after a while.
        """
        name = (client, key)
        try:
            async with asyncio.timeout(_BUSY_TIME):
                while (busy := self._busy.get(name)) is not None:
                    await asyncio.shield(busy)
        except TimeoutError:
            raise Conflict(
                "A request with this Idempotency-Key is in progress", {"key": key}
            ) from None
        done = self._busy[name] = asyncio.get_running_loop().create_future()
        try:
            yield await self._find(client, key, checksum)
        finally:
            del self._busy[name]
            done.set_result(None)

    async def _find(self, client: str, key: str, checksum: bytes) -> Remembered | None:
        if not self.count:
            return None
        since = self._elapsed.now() - KEPT_SECONDS * 1000
        row = await self._database.read(_find, client, key, since)
        if row is None:
            return None
        request, answer, is_final = row
        if request != checksum:
            raise Unprocessable(
                "The Idempotency-Key was used for another request; use a new key", {"key": key}
            )
        return Remembered(answer, bool(is_final))

    def record(
        self, client: str, key: str, checksum: bytes, answer: bytes, *, is_final: bool = True
    ) -> Record:
        """A row to be stored by `insert`; `note` counts it afterwards."""
        if len(answer) >= _LONG:
            answer = zlib.compress(answer, 1)
        return Record(client, key, checksum, answer, is_final, self._elapsed.now())

    async def save(self, record: Record) -> None:
        """Store a row that belongs to no job."""
        await self._database.write(insert, record)
        self.note(record)

    def note(self, record: Record) -> None:
        """Count a row that was stored, and delete the oldest ones beyond the limit."""
        self.count += 1
        self.bytes += record.size
        if self.bytes > self.max_bytes and self._deleting is None:
            with contextlib.suppress(StorageError):  # closed: the next run has the same limit
                self._delete(before=None, size=self.bytes - self.max_bytes * 3 // 4)

    async def delete_expired(self) -> None:
        """Delete what is older than 24 hours; raises StorageError."""
        before = self._elapsed.now() - KEPT_SECONDS * 1000
        while self.count:
            deleting = self._deleting or self._delete(before=before, size=None)
            if (await asyncio.shield(deleting))[0] < _AT_ONCE:
                return

    def _delete(self, before: int | None, size: int | None) -> asyncio.Future[tuple[int, int]]:
        self._deleting = self._database.write(_delete_oldest, before, size)
        self._deleting.add_done_callback(self._note_deleted)
        return self._deleting

    def _note_deleted(self, deleted: asyncio.Future[tuple[int, int]]) -> None:
        self._deleting = None
        if not deleted.cancelled() and deleted.exception() is None:
            count, size = deleted.result()
            self.count = max(0, self.count - count)
            self.bytes = max(0, self.bytes - size)


def insert_with(
    connection: sqlite3.Connection,
    rows: Sequence[tuple[Any, ...]],
    large: Sequence[tuple[bytes, Buffer]],
    record: Record,
) -> None:
    """Store new jobs and what is remembered of their request: both or neither."""
    table.insert(connection, rows, large)
    insert(connection, record)


def insert(connection: sqlite3.Connection, record: Record) -> None:
    """Store a row; replaces that of an expired, or not final, answer."""
    connection.execute(
        "INSERT OR REPLACE INTO remembered_answers (client, key, request, answer, is_final,"
        " accepted) VALUES (?, ?, ?, ?, ?, ?)",
        record,
    )


def _find(
    connection: sqlite3.Connection, client: str, key: str, since: int
) -> tuple[bytes, bytes, int] | None:
    row = connection.execute(
        "SELECT request, answer, is_final FROM remembered_answers"
        " WHERE client = ? AND key = ? AND accepted >= ?",
        (client, key, since),
    ).fetchone()
    if row is None:
        return None
    request, answer, is_final = row
    if answer.startswith(_COMPRESSED):
        answer = zlib.decompress(answer)
    return request, answer, is_final


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    query = f"SELECT count(*), total({_SIZE}) FROM remembered_answers"  # noqa: S608 - a constant
    count, size = connection.execute(query).fetchone()
    return int(count), int(size)


def _delete_oldest(
    connection: sqlite3.Connection, before: int | None, size: int | None
) -> tuple[int, int]:
    """Delete the oldest rows: those before a time, or of so many bytes.

    Returns how many rows and bytes were deleted; there may be more.
    """
    rows = connection.execute(
        f"SELECT client, key, {_SIZE} FROM remembered_answers"  # noqa: S608 - a constant
        " WHERE accepted < ? ORDER BY accepted LIMIT ?",
        (_NEVER if before is None else before, _AT_ONCE),
    ).fetchall()
    names: list[tuple[str, str]] = []
    deleted = 0
    for client, key, length in rows:
        if size is not None and deleted >= size:
            break
        names.append((client, key))
        deleted += length
    connection.executemany("DELETE FROM remembered_answers WHERE client = ? AND key = ?", names)
    return len(names), deleted
