"""The jobs that ended lately, in memory: counts of the last hour, and the newest failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from infernet_edge.clock import milliseconds
from infernet_edge.jobs.contents import PIECE
from infernet_edge.jobs.identifiers import moment_of
from infernet_edge.jobs.job import STATUS_NAMES, STREAM, SUCCESS, Job
from infernet_edge.schema import ContainerError, HistoryItem
from infernet_edge.statistics.last_hour import LastHour

MAX_FAILURES: Final = 100
"""Failures in memory, of all clients together."""

MAX_ERROR: Final = 200
"""Characters of an error in a list."""


class Recent:
    """What ended while this process ran. Cancelled jobs are not counted: nothing went wrong."""

    def __init__(self) -> None:
        self.hour = LastHour()
        self._failures: deque[HistoryItem] = deque(maxlen=MAX_FAILURES)

    def note(self, job: Job, *, keeps_input: bool = False) -> None:
        """Count a job whose end is stored; `keeps_input`: as jobs.keep_inputs says."""
        if job.is_cancelled:
            return
        is_ok = job.status == SUCCESS
        self.hour.note(job.took, ok=is_ok)
        if not is_ok:
            self._failures.append(_failed(job, keeps_input=keeps_input))

    def failures(self, limit: int, is_shown: Callable[[str], bool]) -> list[HistoryItem]:
        """The newest failures of the clients for which `is_shown`, newest first."""
        found = (each for each in reversed(self._failures) if is_shown(each.client))
        return [each for each, _ in zip(found, range(limit), strict=False)]


def _failed(job: Job, *, keeps_input: bool) -> HistoryItem:
    size = job.input_size or 0
    return HistoryItem(
        id=job.id,
        client=job.client,
        kind="stream" if job.kind == STREAM else "direct",
        status=STATUS_NAMES[job.status],
        containers=list(job.containers),
        steps=len(job.containers),
        attempts=job.attempts,
        created_at=moment_of(job.key),
        started_at=job.started_at,
        finished_at=milliseconds(),
        cancelled=False,
        error=error_of(job.failure),
        input_bytes=size if keeps_input and 0 < size <= PIECE else None,
        result_bytes=len(job.failure),
    )


def error_of(result: bytes | None) -> str | None:
    """The text of a ContainerError, shortened; None when it has none, or is damaged."""
    if not result:
        return None
    try:
        return msgspec.json.decode(result, type=ContainerError).error[:MAX_ERROR]
    except msgspec.DecodeError:
        return None
