"""The course of a job."""

from __future__ import annotations

from infernet_edge.jobs.reading.detail import Course
from infernet_edge.jobs.runs import Progress
from infernet_edge.schema import JobDetail


def test_of_an_unfinished_job() -> None:
    course = Course(created_at=500, started_at=1_000, attempts=2, is_running=True)
    assert course.detail(Progress("a", 3)) == JobDetail(
        created_at="1970-01-01T00:00:00.500Z",
        started_at="1970-01-01T00:00:01.000Z",
        finished_at=None,
        attempts=2,
        position=3,
        container="a",
        cancelled=False,
    )


def test_of_a_job_that_has_ended() -> None:
    course = Course(500, 600, 700, 1, is_cancelled=True)
    assert course.detail(None) == JobDetail(
        created_at="1970-01-01T00:00:00.500Z",
        started_at="1970-01-01T00:00:00.600Z",
        finished_at="1970-01-01T00:00:00.700Z",
        attempts=1,
        position=None,
        container=None,
        cancelled=True,
    )
