"""Runs accepted jobs through their containers and stores how they end.

Each container has a lane with `max_concurrency` places. A job stands in the lane of its first
container; when it is through, it stands in the lane of the next one with the output as its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from infernet_edge.config.tree import Jobs
from infernet_edge.containers.client import (
    OFF_CHAIN,
    ContainerFailure,
    ServiceClient,
    request_body,
)
from infernet_edge.containers.service import Service
from infernet_edge.errors import StorageError
from infernet_edge.jobs.job import FAILED, STREAM, SUCCESS, Job
from infernet_edge.jobs.lanes import Lane
from infernet_edge.jobs.results import container_error, container_output, json_list
from infernet_edge.jobs.store import JobStore
from infernet_edge.jobs.streams import JobStream
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_MOST_UNSAVED = 256  # outcomes on their way to the disk; beyond that containers wait
_SAVE_AGAIN = 5.0  # seconds until an outcome that could not be written is tried again
_COUNT_AFTER = 0.25  # seconds after which the start of a job that still runs is stored
_GRACE = 5.0  # seconds in which jobs in flight may finish when the node stops
_OUR_MISTAKE = "The node could not run the job; its log has the details"


class _Outcome(NamedTuple):
    """How a job ended, on its way to the store."""

    job: Job
    status: int
    result: bytes
    intermediate: bytes | None


class _Run:
    """A job on its way: the container it is at, the input for that, the outputs so far."""

    __slots__ = ("data", "job", "outputs", "position", "started")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.position = 0
        self.data: bytes | None = None
        self.outputs: list[bytes] = []
        self.started = False


class _Station:
    """A container and the lane before it."""

    __slots__ = ("lane", "service")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.lane: Lane[_Run] = Lane(service.container.max_concurrency)


class Orchestrator:
    """Owns the running of jobs, between the store and the containers."""

    def __init__(
        self,
        config: Jobs,
        store: JobStore,
        services: Mapping[str, Service],
        client: ServiceClient,
        max_bytes: int,
    ) -> None:
        self._config = config
        self._store = store
        self._client = client
        self._max_bytes = max_bytes
        self._stations = {name: _Station(service) for name, service in services.items()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: dict[bytes, Job] = {}  # by this run of the node, and not finished
        self._counted: set[bytes] = set()  # of those, the ones whose start is stored
        self._counting: asyncio.TimerHandle | None = None
        self._unsaved = 0
        self._to_save_again: list[_Outcome] = []
        self._saved = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Go on with what an earlier run of the node left unfinished."""
        for job in await self._store.load():
            reason = self._cannot_go_on(job)
            if reason:
                result = container_error(job.containers[0], reason)
                self._save(job, FAILED, result, None)
            else:
                self._join(_Run(job))
        if resumed := len(self._store.pending):
            log_event(logger, "jobs.resumed", count=resumed)

    def _cannot_go_on(self, job: Job) -> str:
        if job.kind == STREAM:
            return "The node stopped while the job was streaming"
        if any(container not in self._stations for container in job.containers):
            return "A container of the job is no longer configured"
        if job.attempts and self._config.on_restart == "fail":
            return "The node stopped while the job was running"
        if job.attempts >= self._config.max_attempts:
            return f"The node stopped while the job was running, {job.attempts} times"
        return ""

    def submit(self, job: Job) -> None:
        """Run a job that is stored."""
        self._join(_Run(job))

    def open_stream(self, job: Job) -> JobStream:
        """Begin a streaming job that is stored; only its first container runs."""
        station = self._stations[job.containers[0]]
        stream = JobStream(job, station.service, self._client, self._max_bytes, self._save)
        self._hold(self._run_stream(stream, station))
        return stream

    async def compute(
        self,
        containers: Sequence[str],
        data: bytes,
        *,
        source: int,
        destination: int,
        requires_proof: bool,
    ) -> bytes:
        """Run containers for somebody who keeps the outcome himself; returns the last answer.

        `source` and `destination` are those of the whole chain of containers, each hand-over
        between two of them is off-chain. Raises ContainerFailure.
        """
        last = len(containers) - 1
        for position, container in enumerate(containers):
            station = self._stations.get(container)
            if station is None:
                raise ContainerFailure(f'The container "{container}" is no longer configured')
            body = request_body(
                data,
                source if position == 0 else OFF_CHAIN,
                destination if position == last else OFF_CHAIN,
                requires_proof=requires_proof,
            )
            turn = station.lane.enter()
            try:
                await turn
                data = await self._client.call(station.service, body)
            finally:
                if turn.done() and not turn.cancelled():
                    self._pass_on(station)
        return data

    async def _run_stream(self, stream: JobStream, station: _Station) -> None:
        stream.task = asyncio.current_task()
        turn = station.lane.enter()
        try:
            await turn
            await stream.run(await self._store.take_data(stream.job))
        except asyncio.CancelledError:
            stream.abandon()
            raise
        except Exception:  # as in `_step`
            fields = {"job": stream.job.id, "container": station.service.id}
            logger.exception("stream.broken", extra={"fields": fields})
            await stream.break_off(ContainerFailure(_OUR_MISTAKE))
        finally:
            if turn.done() and not turn.cancelled():
                self._pass_on(station)

    def _join(self, run: _Run) -> None:
        station = self._stations[run.job.containers[run.position]]
        if station.lane.join(run):
            self._hold(self._work(station))

    def _pass_on(self, station: _Station) -> None:
        """Give the place of a stream that ended to the next in line."""
        run = station.lane.next()
        if run is not None and not self._stopping:
            self._hold(self._work(station, run))

    def _hold(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, station: _Station, run: _Run | None = None) -> None:
        """Take runs from a lane, one after the other, as long as there are any."""
        run = run or station.lane.next()
        while run is not None and not self._stopping:
            while self._unsaved >= _MOST_UNSAVED:
                self._saved.clear()
                await self._saved.wait()
            await self._step(station.service, run)
            run = station.lane.next()

    async def _step(self, service: Service, run: _Run) -> None:
        """Run a job in the container it is at, then send it on or store its end."""
        try:
            output = await self._call(service, run)
        except StorageError:  # the database tells of it, once for all jobs
            run.data = None  # is read again: many jobs may wait for the disk
            asyncio.get_running_loop().call_later(_SAVE_AGAIN, self._join_again, run)
        except ContainerFailure as error:
            self._fail(service, run, str(error))
        except Exception:  # a mistake of ours must neither keep the job nor its place for ever
            fields = {"job": run.job.id, "container": service.id}
            logger.exception("job.broken", extra={"fields": fields})
            self._fail(service, run, _OUR_MISTAKE)
        else:
            self._go_on(service, run, output)

    async def _call(self, service: Service, run: _Run) -> bytes:
        job, data = run.job, run.data
        if data is None:
            data = run.data = await self._store.take_data(job)
        if not run.started:
            self._count_start(run)
        # Where a job must not run twice, its start is on the disk before the container hears of it.
        if self._config.on_restart == "fail" and job.key not in self._counted:
            await self._store.save_attempts([job])
            self._counted.add(job.key)
        # Every hand-over of a direct job is off-chain on both sides.
        body = request_body(data, OFF_CHAIN, OFF_CHAIN, requires_proof=job.requires_proof)
        return await self._client.call(service, body)

    def _go_on(self, service: Service, run: _Run, output: bytes) -> None:
        result = container_output(service.id, output)
        run.position += 1
        if run.position == len(run.job.containers):
            self._save(run.job, SUCCESS, result, json_list(run.outputs))
        else:
            run.outputs.append(result)
            run.data = output
            self._join(run)

    def _fail(self, service: Service, run: _Run, reason: str) -> None:
        log_event(logger, "job.failed", job=run.job.id, container=service.id, reason=reason)
        result = container_error(service.id, reason)
        self._save(run.job, FAILED, result, json_list(run.outputs))

    def _count_start(self, run: _Run) -> None:
        """Count one more start of a job, so that one that takes the node down is given up once.

        Most jobs end within a moment and need no write for that.
        """
        run.started = True
        run.job.attempts += 1
        self._started[run.job.key] = run.job
        if self._config.on_restart != "fail" and self._counting is None:
            loop = asyncio.get_running_loop()
            self._counting = loop.call_later(_COUNT_AFTER, self._save_starts)

    def _save_starts(self) -> None:
        self._counting = None
        jobs = [job for job in self._started.values() if job.key not in self._counted]
        if jobs and not self._stopping:
            self._counted.update(job.key for job in jobs)
            self._hold(self._save_attempts(jobs))

    async def _save_attempts(self, jobs: list[Job]) -> None:
        with contextlib.suppress(StorageError):  # the database tells of it
            await self._store.save_attempts(jobs)

    def _join_again(self, run: _Run) -> None:
        if not self._stopping:
            self._join(run)

    def _save(
        self, job: Job, status: int, result: bytes, intermediate: bytes | None
    ) -> asyncio.Future[None] | None:
        """Store an outcome, again and again if need be: a finished job is not run twice.

        Returns the first attempt to write it; None when the database is closed.
        """
        self._started.pop(job.key, None)
        self._counted.discard(job.key)
        self._unsaved += 1
        return self._try_to_save(_Outcome(job, status, result, intermediate))

    def _try_to_save(self, outcome: _Outcome) -> asyncio.Future[None] | None:
        try:
            written = self._store.finish(*outcome)
        except StorageError:  # the database is closed: the node stops, the job runs again later
            self._unsaved -= 1
            return None
        written.add_done_callback(functools.partial(self._on_saved, outcome))
        return written

    def _on_saved(self, outcome: _Outcome, written: asyncio.Future[None]) -> None:
        if not written.cancelled() and written.exception() is not None:
            if not self._to_save_again:
                asyncio.get_running_loop().call_later(_SAVE_AGAIN, self._save_again)
            self._to_save_again.append(outcome)
            return
        self._unsaved -= 1
        self._saved.set()

    def _save_again(self) -> None:
        outcomes, self._to_save_again = self._to_save_again, []
        for outcome in outcomes:
            self._try_to_save(outcome)

    async def stop(self) -> None:
        """Let jobs in flight finish for a few seconds; what does not is kept for the next start.

        May be called twice.
        """
        if self._stopping:
            return
        self._stopping = True
        self._saved.set()
        if self._counting is not None:
            self._counting.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE)
        for station in self._stations.values():
            station.lane.clear()
        await cancel(*self._tasks)
        await self._forgive_starts()

    async def _forgive_starts(self) -> None:
        """A proper stop of the node is not held against the jobs that it interrupts."""
        interrupted = list(self._started.values())
        if not interrupted or self._config.on_restart == "fail":
            return
        for job in interrupted:
            job.attempts -= 1
        await self._save_attempts(interrupted)
