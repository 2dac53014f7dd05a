"""The course of a job."""

from __future__ import annotations

from infernet_edge.jobs.job import Job
from infernet_edge.jobs.reading.detail import Course
from infernet_edge.jobs.runs import Progress
from infernet_edge.schema import JobDetail


def test_of_an_unfinished_job_what_is_in_memory_counts() -> None:
    job = Job(b"k" * 16, "c", ("a",), None, attempts=2, started_at=1_000)
    course = Course(created_at=500, is_running=True)
    assert course.detail(job, Progress("a", 3)) == JobDetail(
        created_at="1970-01-01T00:00:00.500Z",
        started_at="1970-01-01T00:00:01.000Z",
        finished_at=None,
        attempts=2,
        position=3,
        container="a",
        cancelled=False,
    )


def test_of_a_job_that_has_ended_what_is_stored_counts() -> None:
    """Its end may have been stored before it was read, and noted in memory after that."""
    job = Job(b"k" * 16, "c", ("a",), None, attempts=2, started_at=1_000)
    course = Course(500, 600, 700, 1, is_cancelled=True)
    assert course.detail(job, Progress("a", None)) == JobDetail(
        created_at="1970-01-01T00:00:00.500Z",
        started_at="1970-01-01T00:00:00.600Z",
        finished_at="1970-01-01T00:00:00.700Z",
        attempts=1,
        position=None,
        container=None,
        cancelled=True,
    )
