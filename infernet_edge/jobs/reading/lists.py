"""Lists of the ids of a client's jobs, up to thousands of them; the event loop never waits long."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from infernet_edge.errors import BadRequest
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.identifiers import from_text, moment_of, to_text, to_texts

_END: Final = (2**48 - 2, "")  # sorts after the time and id of every job
# One row for all: a row that Python reads takes the interpreter's lock, which the event loop needs.
_IDS: Final = (
    "SELECT group_concat(hex(id), '') FROM"
    " (SELECT id FROM jobs WHERE client = ? AND id < ?{} ORDER BY id DESC LIMIT ?)"
)
ALL: Final = _IDS.format("")
"""The digits of all jobs of a client before a key, newest first."""

FINISHED: Final = _IDS.format(" AND status > 0")
"""The same, those that have ended. (The index for `status != 0` is in another order.)"""


def stored_ids(
    connection: sqlite3.Connection, client: str, end: bytes, limit: int, finished: bool
) -> list[str]:
    """The ids of a client's newest jobs before a key, oldest first; `finished`: of those only."""
    query = FINISHED if finished else ALL
    (digits,) = connection.execute(query, (client, end, limit)).fetchone()
    return to_texts(digits or "")[::-1]


async def cursor(before: str, external: ExternalJobs, latest: int) -> tuple[int, str]:
    """The position of a job in lists, which are ordered by time (milliseconds) and id.

    "" is the end of every list. `latest` is the time in the newest id of the node. Raises
    BadRequest when no such job can exist.
    """
    if not before:
        return _END
    if (moment := await external.moment_of(before)) is not None:
        return moment, before
    # Another UUID, such as the id of an external job that was deleted, has no position.
    key = from_text(before)
    if key is not None and moment_of(key) <= latest:
        return moment_of(key), to_text(key)
    raise BadRequest("before: expected the id of a job", {"field": "before"})


def with_external(own: Iterable[str], external: Iterable[tuple[int, str]], limit: int) -> list[str]:
    """Both in one order, by time (milliseconds) and id; the newest `limit`. May take a moment.

    An own id begins with its time, in hexadecimal.
    """
    dated = [(text[:13], text) for text in own]
    for moment, text in external:
        time = f"{moment:012x}"
        dated.append((f"{time[:8]}-{time[8:]}", text))
    return [text for _, text in sorted(dated)[-limit:]]
