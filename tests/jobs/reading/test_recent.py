"""The jobs that ended lately, in memory."""

from __future__ import annotations

import pytest

from infernet_edge.jobs.identifiers import JobIds
from infernet_edge.jobs.job import FAILED, SUCCESS, Job
from infernet_edge.jobs.reading.recent import MAX_ERROR, MAX_FAILURES, Recent
from infernet_edge.jobs.result_json import container_error

IDS = JobIds()


def ended(client: str, error: str = "", *, cancelled: bool = False) -> Job:
    job = Job(IDS.next(), client, ("echo",), None)
    job.note_start()
    job.is_cancelled = cancelled
    job.note_end(FAILED if error else SUCCESS, container_error("echo", error) if error else b"")
    return job


def test_the_newest_failures_of_a_client() -> None:
    recent = Recent()
    for number in range(MAX_FAILURES + 10):
        recent.note(ended("ann" if number % 50 else "bob", f"failure {number}"))
    recent.note(ended("ann"))
    recent.note(ended("ann", "Cancelled by the client", cancelled=True))
    found = recent.failures(5, lambda client: client == "bob")
    assert [each.error for each in found] == ["failure 100", "failure 50"]
    everyone = recent.failures(3, lambda client: True)
    assert [each.error for each in everyone] == ["failure 109", "failure 108", "failure 107"]
    assert len(recent.failures(10**6, lambda client: True)) == MAX_FAILURES
    summary = recent.hour.summary()
    assert (summary.done, summary.failed) == (1, MAX_FAILURES + 10)  # none for the cancelled one


def test_what_a_failure_says() -> None:
    recent = Recent()
    job = ended("ann", "x" * 1000)
    recent.note(job)
    (found,) = recent.failures(5, lambda client: True)
    assert (found.id, found.status, found.attempts) == (job.id, "failed", 1)
    assert found.error == "x" * MAX_ERROR
    assert found.started_at is not None
    assert found.finished_at is not None
    assert found.created_at <= found.started_at <= found.finished_at


def test_a_result_that_cannot_be_stored_makes_a_failure() -> None:
    recent, job = Recent(), ended("ann")
    took = job.took
    job.note_end(FAILED, container_error("echo", "The result cannot be stored"))
    recent.note(job)
    assert job.took == took == pytest.approx(0, abs=1)  # storing does not count
    assert recent.failures(5, lambda client: True)[0].error == "The result cannot be stored"
