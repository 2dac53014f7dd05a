"""DELETE of jobs: ends them, and waits until their ends are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from infernet_edge.api.access.admission import Caller
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.store import JobStore

_SAVING_TIME = 10.0  # seconds to wait until the ends are stored


class Cancellation:
    """Cancels unfinished jobs; those that have ended, and external jobs, do not change."""

    def __init__(self, store: JobStore, orchestrator: Orchestrator) -> None:
        self._store = store
        self._orchestrator = orchestrator

    async def cancel(self, caller: Caller, identifiers: Sequence[str]) -> None:
        """Cancel those of these jobs that the caller owns; returns when that is stored.

        The wait is limited: while the disk cannot be written, the jobs are still unfinished.
        """
        found = [self._store.unfinished_job(identifier) for identifier in identifiers]
        jobs = [job for job in found if job is not None and caller.owns(job.client)]
        for job in jobs:
            self._orchestrator.cancel(job)
        with self._store.waiters.admitted(always=True) as waiter:
            self._store.waiters.wait(waiter, [job.key for job in jobs])
            await asyncio.wait((waiter.ended,), timeout=_SAVING_TIME)
