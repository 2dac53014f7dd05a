"""Lists of jobs, for their clients and for the operator."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec
from msgspec import Struct

from infernet_edge.jobs import contents
from infernet_edge.jobs.identifiers import to_text
from infernet_edge.jobs.job import FAILED, STATUS_NAMES, STREAM
from infernet_edge.schema import ContainerError, JobStatus

MAX_SHOWN: Final = 32 * 2**10
"""Bytes of a result that `details` contains; an error with its 4096 characters is shorter."""

_MAX_ERROR = 500  # characters in a list


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
    error: str | None
    """Why it failed, shortened."""


class JobDetails(Struct, frozen=True):
    """All that is stored about a job; times in milliseconds since 1970, sizes in bytes.

    `result` is the JSON text of a ContainerOutput or ContainerError; None when it is longer than
    MAX_SHOWN, or there is none. `outputs` are the intermediate results of a chain. Of an external
    job, whose `kind` is "external", nothing else than its status is known.
    """

    id: str
    client: str
    kind: str
    status: JobStatus
    containers: list[str]
    created_at: int
    finished_at: int | None
    started_at: int | None = None
    requires_proof: bool = False
    attempts: int = 0
    cancelled: bool = False
    input_size: int | None = None
    result_size: int | None = None
    outputs_size: int | None = None
    result: str | None = None
    error: str | None = None


def details(connection: sqlite3.Connection, key: bytes) -> JobDetails | None:
    """Everything about a job of the node; None when there is none with this id."""
    row = connection.execute(
        "SELECT client, kind, status, containers, requires_proof, attempts, created_at,"
        " started_at, finished_at, cancelled, length(data), length(result), length(intermediate),"
        " CASE WHEN length(result) <= ? THEN result END FROM jobs WHERE id = ?",
        (MAX_SHOWN, key),
    ).fetchone()
    if row is None:
        return None
    client, kind, status, containers, proof, attempts, created, started, finished, *more = row
    cancelled, *sizes, result = more
    pieces: dict[int, int] = contents.sizes(connection, key) if 0 in sizes else {}
    outputs = sum(size for part, size in pieces.items() if part >= contents.OUTPUT)
    stored = (pieces.get(contents.INPUT), pieces.get(contents.RESULT), outputs or None)
    input_size, result_size, outputs_size = (
        in_pieces if size == 0 else size for size, in_pieces in zip(sizes, stored, strict=True)
    )
    return JobDetails(
        id=to_text(key),
        client=client,
        kind=_kind(kind),
        status=STATUS_NAMES[status],
        containers=containers.split(","),
        requires_proof=bool(proof),
        attempts=attempts,
        created_at=created,
        started_at=started,
        finished_at=finished,
        cancelled=bool(cancelled),
        input_size=input_size,
        result_size=result_size,
        outputs_size=outputs_size,
        result=bytes(result).decode("utf-8", "replace") if result else None,
        error=_error(status, result),
    )


def _kind(number: int) -> str:
    return "stream" if number == STREAM else "direct"


def _error(status: int, result: bytes | None) -> str | None:
    """The text of a ContainerError."""
    if status != FAILED or not result:
        return None
    try:
        return msgspec.json.decode(result, type=ContainerError).error
    except msgspec.DecodeError:  # damaged on the disk
        return None


def newest(connection: sqlite3.Connection, limit: int) -> list[JobSummary]:
    """The newest jobs of all clients, newest first."""
    rows = connection.execute(
        "SELECT id, client, kind, status, containers, attempts, created_at, finished_at,"
        " CASE WHEN status = ? AND length(result) <= ? THEN result END"
        " FROM jobs ORDER BY id DESC LIMIT ?",
        (FAILED, MAX_SHOWN, limit),
    )
    return [
        JobSummary(
            to_text(key),
            client,
            _kind(kind),
            STATUS_NAMES[status],
            containers.split(","),
            attempts,
            created,
            finished,
            (_error(status, result) or "")[:_MAX_ERROR] or None,
        )
        for key, client, kind, status, containers, attempts, created, finished, result in rows
    ]
