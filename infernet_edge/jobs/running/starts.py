"""Counts the starts of jobs, so that a job that crashes the node fails after `max_attempts`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from infernet_edge.config.model import Jobs
from infernet_edge.errors import StorageError
from infernet_edge.jobs.job import Job
from infernet_edge.jobs.store import JobStore
from infernet_edge.tasks import TaskSet

_STORE_AFTER: Final = 0.25  # seconds after which the start of a job that still runs is stored


class Starts:
    """The starts of jobs in progress. They are stored after a short delay: most jobs end before."""

    def __init__(self, config: Jobs, store: JobStore, tasks: TaskSet) -> None:
        self.config = config
        self._store = store
        self._tasks = tasks
        self._jobs: dict[bytes, Job] = {}  # started by this process, and not finished
        self._stored: set[bytes] = set()  # those of them whose start is stored
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    def note(self, job: Job) -> None:
        """Count a start."""
        self._store.note_start(job)
        self._jobs[job.key] = job
        if self.config.on_restart != "fail" and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_STORE_AFTER, self._store_all)

    def needs_storing(self, job: Job) -> bool:
        """Whether its start is to be stored before the call, since it must not run twice."""
        return self.config.on_restart == "fail" and job.key not in self._stored

    async def store(self, job: Job) -> None:
        """Store its start. Raises StorageError."""
        await self._store.save_attempts([job])
        self._stored.add(job.key)

    def forget(self, job: Job) -> None:
        """The job has ended, or starts again."""
        self._jobs.pop(job.key, None)
        self._stored.discard(job.key)

    def why_not_again(self, job: Job, event: str) -> str:
        """Why a job that was interrupted by this event fails; "" when it runs again."""
        if job.attempts and self.config.on_restart == "fail":
            return event
        if job.attempts >= self.config.max_attempts:
            return f"{event}, {job.attempts} times"
        return ""

    def stop(self) -> None:
        """Store no starts from now on."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()

    async def uncount(self) -> None:
        """Do not count the starts of jobs that a graceful stop interrupts."""
        interrupted = list(self._jobs.values())
        if not interrupted or self.config.on_restart == "fail":
            return
        for job in interrupted:
            job.attempts -= 1
        await self._save(interrupted)

    def _store_all(self) -> None:
        self._timer = None
        jobs = [job for job in self._jobs.values() if job.key not in self._stored]
        if jobs and not self._stopping:
            self._stored.update(job.key for job in jobs)
            self._tasks.start(self._save(jobs))

    async def _save(self, jobs: Sequence[Job]) -> None:
        with contextlib.suppress(StorageError):  # logged by the database
            await self._store.save_attempts(jobs)
