"""One job with its course: when it was accepted, started and ended, and where it is now."""

from __future__ import annotations

import sqlite3

from msgspec import Struct

from infernet_edge.clock import iso_time
from infernet_edge.jobs.job import RUNNING, Job
from infernet_edge.jobs.retrieval import Result, find_in_snapshot
from infernet_edge.jobs.runs import Progress
from infernet_edge.schema import JobDetail


class Course(Struct, frozen=True):
    """What is stored about the course of a job; times in milliseconds since 1970."""

    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    attempts: int = 0
    is_running: bool = False
    is_cancelled: bool = False

    def detail(self, job: Job | None, progress: Progress | None) -> JobDetail:
        """The detail for clients; of an unfinished job, what is in memory is newer."""
        started, attempts = self.started_at, self.attempts
        if job is not None and self.is_running:
            started, attempts = job.started_at, job.attempts
        now = progress if self.is_running else None
        return JobDetail(
            created_at=iso_time(self.created_at),
            started_at=None if started is None else iso_time(started),
            finished_at=None if self.finished_at is None else iso_time(self.finished_at),
            attempts=attempts,
            position=None if now is None else now.position,
            container=None if now is None else now.container,
            cancelled=self.is_cancelled,
        )


def find_one(
    connection: sqlite3.Connection, client: str | None, key: bytes, intermediate: bool
) -> tuple[Result, Course] | None:
    """A job of a client, or of any, with its course, of one moment; None when it has none."""
    connection.execute("BEGIN")
    try:
        found = find_in_snapshot(connection, client, [key], intermediate).get(key)
        if found is None:
            return None
        row = connection.execute(
            "SELECT created_at, started_at, finished_at, attempts, status, cancelled FROM jobs"
            " WHERE id = ?",
            (key,),
        ).fetchone()
    finally:
        connection.execute("COMMIT")
    created, started, finished, attempts, status, cancelled = row
    return found, Course(created, started, finished, attempts, status == RUNNING, bool(cancelled))
