"""The jobs of the past, newest first, with filters.

A call reads at most MAX_READ rows, whatever the filter finds, and says how far it got: so it takes
milliseconds, also when there are a million jobs.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from msgspec import Struct

from infernet_edge.errors import BadRequest
from infernet_edge.jobs import contents
from infernet_edge.jobs.identifiers import from_text, moment_of, to_text
from infernet_edge.jobs.job import FAILED, RUNNING, STATUS_NAMES, STREAM, SUCCESS
from infernet_edge.jobs.reading.recent import error_of
from infernet_edge.schema import HistoryItem
from infernet_edge.storage.database import Database

MAX_READ: Final = 5000
"""Rows that one call reads."""

MAX_PAGE: Final = 500
"""Jobs in one answer."""

STATES: Final = ("running", "waiting", "computing", "success", "failed", "cancelled")
"""What `state` may be. Running jobs are waiting or computing; cancelled ones are failed, too."""

_MAX_RESULT = 32 * 2**10  # bytes of a result that is read for its error, which is shorter
_END: Final = b"\xff" * 16
_STATUS: Final = {
    "running": RUNNING,
    "waiting": RUNNING,
    "computing": RUNNING,
    "success": SUCCESS,
    "failed": FAILED,
    "cancelled": FAILED,
}


class Filter(Struct, frozen=True):
    """Which jobs to find; "" for any `state` or `container`, None for any client.

    Keys from `low` on and before `end` are searched. `among`: only these keys; those of the jobs
    that wait, for example, which memory knows.
    """

    client: str | None
    state: str = ""
    container: str = ""
    low: bytes = b""
    end: bytes = _END
    among: frozenset[bytes] | None = None


class Page(Struct, frozen=True):
    """What one call found; the search continues before the key `next`, None when it is complete."""

    items: list[HistoryItem]
    next: bytes | None

    @property
    def searched_to(self) -> int | None:
        """All jobs accepted since then were searched, in milliseconds; None for all jobs."""
        return None if self.next is None else moment_of(self.next)


def key_range(prefix: str) -> tuple[bytes, bytes] | None:
    """The lowest key whose text begins so, and the first one after the last; None for no key."""
    digits = prefix.lower().replace("-", "")
    try:
        low = int(digits.ljust(32, "0"), 16)
        high = int(digits.ljust(32, "f"), 16) + 1
    except ValueError:
        return None
    if len(digits) > 32 or not to_text(low.to_bytes(16)).startswith(prefix.lower()):
        return None
    return low.to_bytes(16), high.to_bytes(16) if high < 1 << 128 else _END


def cursor(text: str) -> bytes:
    """The key of a cursor; raises BadRequest."""
    key = from_text(text) if text else _END
    if key is None:
        raise BadRequest("before: expected `next` of an earlier answer", {"field": "before"})
    return key


class History:
    """Reads pages of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: Filter, limit: int) -> Page:
        """The newest jobs that a filter finds, at most `limit`."""
        return await self._database.read(find, wanted, limit)

    async def has_any(self, client: str) -> bool:
        """Whether a client has any job."""
        return await self._database.read(has_any, client)


def has_any(connection: sqlite3.Connection, client: str) -> bool:
    """See History.has_any."""
    query = "SELECT 1 FROM jobs WHERE client = ? LIMIT 1"
    return connection.execute(query, (client,)).fetchone() is not None


def find(connection: sqlite3.Connection, wanted: Filter, limit: int) -> Page:
    """See History.page; all is read in one snapshot."""
    connection.execute("BEGIN")
    try:
        keys, following = _search(connection, wanted, limit)
        return Page([_item(connection, key) for key in keys], following)
    finally:
        connection.execute("COMMIT")


def _search(
    connection: sqlite3.Connection, wanted: Filter, limit: int
) -> tuple[list[bytes], bytes | None]:
    """The keys that are found, and the key before which the search continues.

    Only the first columns of a row are read, which stand before the long ones.
    """
    keys: list[bytes] = []
    last = b""
    for read, (key, status, containers) in enumerate(_rows(connection, wanted)):
        if len(keys) == limit or read == MAX_READ:
            return keys, last
        if _matches(connection, key, status, containers, wanted):
            keys.append(key)
        last = key
    return keys, None


def _rows(connection: sqlite3.Connection, wanted: Filter) -> sqlite3.Cursor:
    # What runs has an index of its own, and is perhaps far behind what has ended.
    unfinished = _STATUS.get(wanted.state) == RUNNING
    source = "jobs INDEXED BY unfinished_jobs" if unfinished else "jobs"
    conditions = "id < ? AND id >= ?"
    values: list[bytes | str | int] = [wanted.end, wanted.low]
    if unfinished:
        conditions += " AND status = 0"
    if wanted.client is not None:
        conditions += " AND client = ?"
        values.append(wanted.client)
    return connection.execute(
        f"SELECT id, status, containers FROM {source} WHERE {conditions}"  # noqa: S608 - ours
        " ORDER BY id DESC LIMIT ?",
        (*values, MAX_READ + 1),  # one more, which shows that there is more to search
    )


def _matches(
    connection: sqlite3.Connection, key: bytes, status: int, containers: str, wanted: Filter
) -> bool:
    if wanted.state and status != _STATUS[wanted.state]:
        return False
    if wanted.among is not None and key not in wanted.among:
        return False
    if wanted.container and wanted.container not in containers.split(","):
        return False
    if wanted.state != "cancelled":
        return True
    (cancelled,) = connection.execute("SELECT cancelled FROM jobs WHERE id = ?", (key,)).fetchone()
    return bool(cancelled)


def _item(connection: sqlite3.Connection, key: bytes) -> HistoryItem:
    row = connection.execute(
        "SELECT client, kind, status, containers, attempts, created_at, started_at, finished_at,"
        " cancelled, length(data), length(result),"
        " CASE WHEN status = ? AND length(result) <= ? THEN result END FROM jobs WHERE id = ?",
        (FAILED, _MAX_RESULT, key),
    ).fetchone()
    client, kind, status, containers, attempts, created, started, finished, *rest = row
    cancelled, *sizes, failure = rest
    pieces = contents.sizes(connection, key) if 0 in sizes else {}
    stored = (pieces.get(contents.INPUT), pieces.get(contents.RESULT))
    input_bytes, result_bytes = (
        in_pieces if size == 0 else size for size, in_pieces in zip(sizes, stored, strict=True)
    )
    chain = containers.split(",")
    return HistoryItem(
        id=to_text(key),
        client=client,
        kind="stream" if kind == STREAM else "direct",
        status=STATUS_NAMES[status],
        containers=chain,
        steps=len(chain),
        attempts=attempts,
        created_at=created,
        started_at=started,
        finished_at=finished,
        cancelled=bool(cancelled),
        error=error_of(failure),
        input_bytes=input_bytes,
        result_bytes=result_bytes,
    )
