"""Large contents of jobs, stored in pieces, so that none of them is ever in memory as a whole.

A content of up to one piece is in the job's own row. For a longer one the row holds an empty text,
and the table `pieces` the content: SQLite builds each row in memory before it writes it, and has a
limit for its length.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from msgspec import Struct

from infernet_edge.storage.checksums import check, checksum
from infernet_edge.storage.migrations import Breaking

Buffer = bytes | bytearray | memoryview

PIECE: Final = 64 * 2**10
"""Bytes of a piece; the last one of a content is shorter."""

INPUT: Final = 0
RESULT: Final = 1
STREAMED: Final = 2
"""The bytes of a stream as received, until its end."""
OUTPUT: Final = 3
"""The output of the first container of a job; those of the others have the next numbers."""

_TEMPORARY: Final = b"\xff" * 8  # greater than all job ids, which begin with a time

MIGRATIONS: Final = (
    # Earlier versions would read the empty texts, which refer to pieces, as the contents.
    Breaking(
        """CREATE TABLE pieces (
        job BLOB NOT NULL, part INTEGER NOT NULL, position INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (job, part, position)
    ) STRICT, WITHOUT ROWID"""
    ),
    "CREATE TRIGGER pieces_of_deleted_jobs AFTER DELETE ON jobs BEGIN"
    " DELETE FROM pieces WHERE job = old.id; END",
    "ALTER TABLE pieces ADD COLUMN sum INTEGER",  # see checksums.py
)

# Earlier versions stored everything in the job's row.
_COLUMNS: Final = {-1: "data", -2: "result", -3: "intermediate"}
_AT_ONCE = 1024 * 1024  # bytes per read of such a text: SQLite reads all of it each time
INPUT_COLUMN, RESULT_COLUMN, INTERMEDIATE_COLUMN = _COLUMNS


class Content(Struct, frozen=True):
    """A content that is stored: `size` bytes of a part of a job, after the first `start`."""

    job: bytes
    part: int
    size: int
    start: int = 0


Input = bytes | memoryview | Content
"""The input of a job: a short one, a long one in memory, or a reference to a stored one."""


def write(connection: sqlite3.Connection, job: bytes, part: int, texts: Iterable[Buffer]) -> int:
    """Store a content, which may come in several texts; returns its length in bytes.

    A content that is stored under the same name is replaced.
    """
    connection.execute("DELETE FROM pieces WHERE job = ? AND part = ?", (job, part))
    size = pieces = 0
    for piece in _in_pieces(texts):
        add(connection, job, part, pieces, piece)
        size += len(piece)
        pieces += 1
    add(connection, job, part, pieces, b"")  # the end mark: without it, a piece is missing
    return size


def add(
    connection: sqlite3.Connection, job: bytes, part: int, position: int, piece: Buffer
) -> None:
    """Store one piece; all but the last of a part have to be `PIECE` bytes."""
    row = (job, part, position, piece, checksum(piece, job, part, position))
    connection.execute(
        "INSERT OR REPLACE INTO pieces (job, part, position, data, sum) VALUES (?, ?, ?, ?, ?)", row
    )


def append(
    connection: sqlite3.Connection, job: bytes, part: int, position: int, pieces: Buffer
) -> None:
    """Store several pieces, the first one at this position."""
    view = memoryview(pieces)
    for number, start in enumerate(range(0, len(view), PIECE), position):
        add(connection, job, part, number, view[start : start + PIECE])


def add_temporary(connection: sqlite3.Connection, text: Buffer) -> Content:
    """Store a text that belongs to no job."""
    name = _TEMPORARY + os.urandom(8)
    return Content(name, INPUT, write(connection, name, INPUT, [text]))


def drop_temporary(connection: sqlite3.Connection, name: bytes | None = None) -> None:
    """Delete a text that belongs to no job; all of them when none is named."""
    if name is None:
        connection.execute("DELETE FROM pieces WHERE job >= ?", (_TEMPORARY,))
    else:
        connection.execute("DELETE FROM pieces WHERE job = ?", (name,))


def _in_pieces(texts: Iterable[Buffer]) -> Iterator[Buffer]:
    rest = bytearray()
    for text in texts:
        view = memoryview(text)
        if rest:
            missing = PIECE - len(rest)
            rest += view[:missing]
            view = view[missing:]
            if len(rest) < PIECE:
                continue
            yield bytes(rest)
            rest = bytearray()
        whole = len(view) - len(view) % PIECE
        for start in range(0, whole, PIECE):
            yield view[start : start + PIECE]
        rest += view[whole:]
    if rest:
        yield bytes(rest)


def read(connection: sqlite3.Connection, content: Content, offset: int) -> bytes:
    """Some bytes of a content from an offset on, usually one piece; b"" when it was deleted."""
    begin = content.start + offset
    if (column := _COLUMNS.get(content.part)) is not None:
        row = connection.execute(
            f"SELECT substr({column}, ?, ?) FROM jobs WHERE id = ?",  # noqa: S608 - a fixed name
            (begin + 1, _AT_ONCE, content.job),
        ).fetchone()
        found = bytes(row[0] or b"") if row else b""
    else:
        position, skipped = divmod(begin, PIECE)
        found = _piece(connection, content.job, content.part, position)[skipped:]
    return found[: content.size - offset]


def read_several(
    connection: sqlite3.Connection, content: Content, offset: int, size: int
) -> list[bytes]:
    """The pieces of a content from an offset on, about `size` bytes; fewer at its end."""
    found: list[bytes] = []
    end = min(offset + size, content.size)
    while offset < end and (piece := read(connection, content, offset)):
        found.append(piece)
        offset += len(piece)
    return found


def texts(
    connection: sqlite3.Connection, job: bytes, part: int, limit: int | None = None
) -> Iterator[bytes]:
    """The pieces of a part, in their order; the first `limit` of them."""
    position = 0
    while limit is None or position < limit:
        if not (piece := _piece(connection, job, part, position)):
            return
        yield piece
        position += 1


def _piece(connection: sqlite3.Connection, job: bytes, part: int, position: int) -> bytes:
    """A piece; b"" when there is none. Raises Damaged."""
    row = connection.execute(
        "SELECT data, sum FROM pieces WHERE job = ? AND part = ? AND position = ?",
        (job, part, position),
    ).fetchone()
    if row is None:
        return b""
    check(row[1], row[0], job, part, position, what="A stored text")
    return bytes(row[0])


def sizes(connection: sqlite3.Connection, job: bytes) -> dict[int, int]:
    """The length of each part of a job that is stored in pieces, in bytes.

    Parts with a missing piece are left out: they come from a damaged database.
    """
    rows = connection.execute(
        "SELECT part, sum(length(data)) FROM pieces WHERE job = ? GROUP BY part"
        " HAVING count(*) = max(position) + 1 AND min(length(data)) = 0",
        (job,),
    )
    return dict(rows.fetchall())


def keep_only(connection: sqlite3.Connection, job: bytes, parts: Collection[int]) -> None:
    """Delete all other parts of a job."""
    marks = ",".join("?" * len(parts))
    connection.execute(
        f"DELETE FROM pieces WHERE job = ? AND part NOT IN ({marks})",  # noqa: S608 - only marks
        (job, *parts),
    )
