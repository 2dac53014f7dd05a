"""The events of jobs. Their fields are those of GET /api/history, as far as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from infernet_edge.clock import milliseconds
from infernet_edge.events.bus import Events
from infernet_edge.jobs.contents import Buffer
from infernet_edge.jobs.identifiers import moment_of, to_text
from infernet_edge.jobs.job import FAILED, RUNNING, STATUS_NAMES, STREAM, SUCCESS, Job
from infernet_edge.schema import ContainerError

_MAX_ERROR: Final = 200  # characters of an error, as in GET /api/history
_MAX_ID: Final = 200  # characters of the id of an external job
_MAX_CONTAINERS: Final = 16  # of an external job


class JobChange(Struct, gc=False):
    """A job at one moment; cheap to make, because each job has some and few are read."""

    key: bytes
    client: str
    kind: int
    containers: tuple[str, ...]
    status: int
    attempts: int
    started_at: int | None
    finished_at: int | None = None
    container: str | None = None
    cancelled: bool = False
    error: str | None = None

    @property
    def subject(self) -> bytes:
        """The job."""
        return self.key

    def fields(self) -> dict[str, Any]:
        """The fields of the event."""
        return {
            "id": to_text(self.key),
            "client": self.client,
            "kind": "stream" if self.kind == STREAM else "direct",
            "status": STATUS_NAMES[self.status],
            "containers": self.containers,
            "steps": len(self.containers),
            "attempts": self.attempts,
            "created_at": moment_of(self.key),
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "container": self.container,
            "cancelled": self.cancelled,
            "error": self.error,
        }


def accepted(events: Events, jobs: Sequence[Job]) -> None:
    """New jobs are on the disk."""
    if not events.wants("job"):
        return
    for job in jobs:
        change = JobChange(job.key, job.client, job.kind, job.containers, RUNNING, 0, None)
        events.publish("job.accepted", change, client=job.client)


def started(events: Events, job: Job) -> None:
    """A job has left the queue of its first container."""
    if not events.wants("job"):
        return
    change = JobChange(
        job.key,
        job.client,
        job.kind,
        job.containers,
        RUNNING,
        job.attempts,
        job.started_at,
        None,
        job.containers[0],
    )
    events.publish("job.started", change, client=job.client)


def ended(events: Events, job: Job, status: int, failure: Buffer) -> None:
    """How a job ended is on the disk; `failure` is the ContainerError of one that failed."""
    if not events.wants("job"):
        return
    change = JobChange(
        job.key,
        job.client,
        job.kind,
        job.containers,
        status,
        job.attempts,
        job.started_at,
        milliseconds(),
    )
    name = "job.finished"
    if status == FAILED:
        change.error = msgspec.json.decode(failure, type=ContainerError).error[:_MAX_ERROR]
        change.cancelled = job.is_cancelled
        name = "job.cancelled" if job.is_cancelled else "job.failed"
    events.publish(name, change, client=job.client)


def external(
    events: Events, identifier: str, client: str, status: int, containers: Sequence[str]
) -> None:
    """An external job was registered, or its status has changed."""
    name = {RUNNING: "job.started", SUCCESS: "job.finished", FAILED: "job.failed"}[status]
    fields = {
        "id": identifier[:_MAX_ID],
        "client": client,
        "kind": "external",
        "status": STATUS_NAMES[status],
        "containers": [each[:_MAX_ID] for each in containers[:_MAX_CONTAINERS]],
    }
    events.publish(name, fields, client=client)
