"""One job with its course: when it was accepted, started and ended, and where it is now."""

from __future__ import annotations

import sqlite3

from msgspec import Struct

from infernet_edge.clock import iso_time
from infernet_edge.jobs.identifiers import moment_of
from infernet_edge.jobs.job import RUNNING, Job
from infernet_edge.jobs.retrieval import Result, find_in_snapshot
from infernet_edge.jobs.runs import Progress
from infernet_edge.schema import JobDetail


class Course(Struct, frozen=True):
    """What is known about the course of a job; times in milliseconds since 1970."""

    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    attempts: int = 0
    is_running: bool = False
    is_cancelled: bool = False

    def detail(self, progress: Progress | None) -> JobDetail:
        """The detail for clients; `progress` is that of an unfinished job."""
        return JobDetail(
            created_at=iso_time(self.created_at),
            started_at=None if self.started_at is None else iso_time(self.started_at),
            finished_at=None if self.finished_at is None else iso_time(self.finished_at),
            attempts=self.attempts,
            position=None if progress is None else progress.position,
            container=None if progress is None else progress.container,
            cancelled=self.is_cancelled,
        )


def course_of(job: Job) -> Course:
    """The course of a job that has not ended, from its acceptance."""
    accepted = moment_of(job.key) if job.created_at is None else job.created_at
    return Course(accepted, job.started_at, None, job.attempts, is_running=True)


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
