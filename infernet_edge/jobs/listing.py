"""Lists of jobs, for their clients and for the operator."""

from __future__ import annotations

import sqlite3

from msgspec import Struct

from infernet_edge.jobs.identifiers import to_text
from infernet_edge.jobs.job import STATUS_NAMES, STREAM
from infernet_edge.schema import JobStatus


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


def newest(connection: sqlite3.Connection, limit: int) -> list[JobSummary]:
    """The newest jobs of all clients, newest first."""
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


def keys_of(connection: sqlite3.Connection, client: str, end: bytes, limit: int) -> list[bytes]:
    """The keys of a client's newest jobs before a key, newest first."""
    rows = connection.execute(
        "SELECT id FROM jobs WHERE client = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (client, end, limit),
    )
    return [key for (key,) in rows]
