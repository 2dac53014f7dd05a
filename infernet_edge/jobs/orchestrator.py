"""Runs accepted jobs through their containers and stores how they end.

Each container has a lane with `max_concurrency` places. A job stands in the lane of its first
container; when it is through, it stands in the lane of the next one with the output as its input.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping, Sequence

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

logger = logging.getLogger(__name__)

_MOST_UNSAVED = 256  # outcomes on their way to the disk; beyond that containers wait
_SAVE_AGAIN = 5.0  # seconds until an outcome that could not be written is tried again
_GRACE = 5.0  # seconds in which jobs in flight may finish when the node stops
_OUR_MISTAKE = "The node could not run the job; its log has the details"


class _Run:
    """A job on its way: the container it is at, the input for that, the outputs so far."""

    __slots__ = ("data", "job", "outputs", "position", "started")

    def __init__(self, job: Job, *, started: bool) -> None:
        self.job = job
        self.position = 0
        self.data: bytes | None = None
        self.outputs: list[bytes] = []
        self.started = started


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
        self._unsaved = 0
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
                self._join(_Run(job, started=False))
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

    def starts_at_once(self, container: str) -> bool:
        """Whether a job for this container would start now, so that its start can be stored with
        it and needs no write of its own."""
        return self._stations[container].lane.free > 0

    def submit(self, job: Job) -> None:
        """Run a job that is stored; `job.attempts` is 1 when its start was stored with it."""
        self._join(_Run(job, started=job.attempts > 0))

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
            station = self._stations[container]
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
        job = run.job
        try:
            data = run.data
            if data is None:
                data = await self._store.take_data(job)
            if not run.started:
                run.started = True
                self._store.count_start(job)
            # Every hand-over of a direct job is off-chain on both sides.
            body = request_body(data, OFF_CHAIN, OFF_CHAIN, requires_proof=job.requires_proof)
            output = await self._client.call(service, body)
        except ContainerFailure as error:
            log_event(logger, "job.failed", job=job.id, container=service.id, reason=str(error))
            result = container_error(service.id, str(error))
            self._save(job, FAILED, result, json_list(run.outputs))
            return
        except StorageError as error:
            log_event(logger, "job.unread", logging.ERROR, job=job.id, reason=str(error))
            asyncio.get_running_loop().call_later(_SAVE_AGAIN, self._join_again, run)
            return
        except Exception:  # a mistake of ours must neither keep the job nor its place for ever
            fields = {"job": job.id, "container": service.id}
            logger.exception("job.broken", extra={"fields": fields})
            result = container_error(service.id, _OUR_MISTAKE)
            self._save(job, FAILED, result, json_list(run.outputs))
            return
        result = container_output(service.id, output)
        run.position += 1
        if run.position == len(job.containers):
            self._save(job, SUCCESS, result, json_list(run.outputs))
            return
        run.outputs.append(result)
        run.data = output
        self._join(run)

    def _join_again(self, run: _Run) -> None:
        if not self._stopping:
            self._join(run)

    def _save(self, job: Job, status: int, result: bytes, intermediate: bytes | None) -> None:
        """Store an outcome, again and again if need be: a finished job is not run twice."""
        self._unsaved += 1
        self._try_to_save(job, status, result, intermediate)

    def _try_to_save(
        self, job: Job, status: int, result: bytes, intermediate: bytes | None
    ) -> None:
        try:
            written = self._store.finish(job, status, result, intermediate)
        except StorageError:  # the database is closed: the node stops, the job runs again later
            self._unsaved -= 1
            return
        written.add_done_callback(
            functools.partial(self._on_saved, job, status, result, intermediate)
        )

    def _on_saved(
        self,
        job: Job,
        status: int,
        result: bytes,
        intermediate: bytes | None,
        written: asyncio.Future[None],
    ) -> None:
        if not written.cancelled() and (error := written.exception()) is not None:
            log_event(logger, "job.unsaved", logging.ERROR, job=job.id, reason=str(error))
            asyncio.get_running_loop().call_later(
                _SAVE_AGAIN, self._try_to_save, job, status, result, intermediate
            )
            return
        self._unsaved -= 1
        self._saved.set()

    async def stop(self) -> None:
        """Let jobs in flight finish for a few seconds; what does not is kept for the next start."""
        self._stopping = True
        self._saved.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE)
        for station in self._stations.values():
            station.lane.clear()
        for task in (unfinished := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        if self._store.pending:
            await self._store.forgive_starts()
