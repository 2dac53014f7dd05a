"""The input that comes with a delegated request: kept on the disk until a container needs it.

It is stored in pieces, beside the deliveries, under Delivery.request_key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from typing import Final

from infernet_edge.containers.protocols.call import StoredInput
from infernet_edge.errors import StorageError
from infernet_edge.jobs.contents import PIECE, Buffer
from infernet_edge.storage.checksums import Damaged, check, checksum
from infernet_edge.storage.database import Database

MIGRATION: Final = """CREATE TABLE delegated_data (
    key TEXT NOT NULL, position INTEGER NOT NULL, data BLOB NOT NULL, sum INTEGER,
    PRIMARY KEY (key, position)
) STRICT, WITHOUT ROWID"""


class DelegatedData:
    """Reads what `write` stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: str) -> StoredInput | None:
        """The input of a request; None when there is none. Raises StorageError."""
        size = await self._database.read(_size, key)
        if not size:
            return None

        async def pieces() -> AsyncIterator[bytes]:
            for position in range(-(-size // PIECE)):
                piece = await self._database.read(_piece, key, position)
                if not piece:
                    raise StorageError("The input of a delegated request is gone")
                yield piece

        return StoredInput(size, pieces)


def write(connection: sqlite3.Connection, key: str, data: Buffer) -> None:
    """Store the input of a request; it replaces what was stored for it."""
    delete(connection, key)
    view = memoryview(data)
    for position, start in enumerate(range(0, len(view) + PIECE, PIECE)):  # an empty one is the end
        piece = view[start : start + PIECE]
        connection.execute(
            "INSERT INTO delegated_data VALUES (?, ?, ?, ?)",
            (key, position, piece, checksum(piece, key.encode(), position)),
        )


def delete(connection: sqlite3.Connection, key: str) -> None:
    """Delete the input of a request."""
    connection.execute("DELETE FROM delegated_data WHERE key = ?", (key,))


def total(connection: sqlite3.Connection) -> int:
    """Bytes of all inputs together."""
    (size,) = connection.execute("SELECT total(length(data)) FROM delegated_data").fetchone()
    return int(size)


def _size(connection: sqlite3.Connection, key: str) -> int:
    size, count, last, shortest = connection.execute(
        "SELECT total(length(data)), count(*), max(position), min(length(data))"
        " FROM delegated_data WHERE key = ?",
        (key,),
    ).fetchone()
    if count and (count != last + 1 or shortest):
        raise Damaged("The input of a delegated request was damaged on the disk")
    return int(size)


def _piece(connection: sqlite3.Connection, key: str, position: int) -> bytes:
    row = connection.execute(
        "SELECT data, sum FROM delegated_data WHERE key = ? AND position = ?", (key, position)
    ).fetchone()
    if row is None:
        return b""
    check(row[1], row[0], key.encode(), position, what="The input of a delegated request")
    return bytes(row[0])
