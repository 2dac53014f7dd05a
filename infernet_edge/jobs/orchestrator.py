"""Runs accepted jobs through their containers and stores how they end.

Each container has a queue with `max_concurrency` places. A job stands in the queue of its first
container; when it is through, it stands in the queue of the next one with the output as its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Mapping, Sequence

from infernet_edge.config.model import Jobs
from infernet_edge.containers.client import (
    OFF_CHAIN,
    ContainerFailure,
    ServiceClient,
    StoredInput,
    request_body,
)
from infernet_edge.containers.service import Service
from infernet_edge.errors import StorageError, TooLargeToStore
from infernet_edge.jobs.contents import OUTPUT, PIECE, Content
from infernet_edge.jobs.job import FAILED, STREAM, SUCCESS, Job
from infernet_edge.jobs.result_json import (
    Streamed,
    around_output,
    container_error,
    container_output,
    json_list,
)
from infernet_edge.jobs.runs import Outcome, Run, Station
from infernet_edge.jobs.store import JobStore
from infernet_edge.jobs.streams import STREAM_BUFFERS, JobStream, StreamRecord
from infernet_edge.logs import log_event
from infernet_edge.memory import MemoryBudget, Reservation
from infernet_edge.storage.checksums import Damaged
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_MAX_UNSAVED = 256  # outcomes on their way to the disk; beyond that containers wait
_MAX_KEPT = 4  # times the largest output: what all outputs of one job may take together
_SAVE_AGAIN = 5.0  # seconds until an outcome that could not be written is tried again
_SHORT_INPUT = 1024  # bytes of an input for the chain that may wait in memory, uncounted
_COUNT_AFTER = 0.25  # seconds after which the start of a job that still runs is stored
_GRACE = 5.0  # seconds in which jobs in flight may finish when the node stops
_OUR_MISTAKE = "The node could not run the job; its log has the details"


class Orchestrator:
    """Owns the running of jobs, between the store and the containers."""

    def __init__(
        self,
        config: Jobs,
        store: JobStore,
        services: Mapping[str, Service],
        client: ServiceClient,
        max_bytes: int,
        memory: MemoryBudget,
    ) -> None:
        self._config = config
        self._store = store
        self._memory = memory
        self._client = client
        self._max_bytes = max_bytes
        self._stations = {name: Station(service) for name, service in services.items()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: dict[bytes, Job] = {}  # by this run of the node, and not finished
        self._counted: set[bytes] = set()  # of those, the ones whose start is stored
        self._counting: asyncio.TimerHandle | None = None
        self._unsaved = 0
        self._to_save_again: list[Outcome] = []
        self._saved = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Go on with what an earlier run of the node left unfinished."""
        for job in await self._store.load():
            reason = self._cannot_go_on(job)
            if reason:
                self._give_up(job, reason)
            else:
                self.submit(job)
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
        self._join(Run(job, self._memory.reserve("inputs")))

    def stream_memory(self) -> Reservation:
        """Room for the buffers of a streaming job; raises Unavailable when there is none."""
        memory = self._memory.reserve("streams")
        memory.take(STREAM_BUFFERS)
        return memory

    def open_stream(self, job: Job, memory: Reservation) -> JobStream:
        """Begin a streaming job that is stored; only its first container runs."""
        station = self._stations[job.containers[0]]
        record = StreamRecord(job, self._store, self._max_bytes, memory)
        stream = JobStream(job, station.service, self._client, record, self._save_stream)
        self._hold(self._run_stream(stream, station))
        return stream

    def reserve(self) -> Reservation:
        """Memory for the answer of `compute`."""
        return self._memory.reserve("outputs")

    async def compute(
        self,
        containers: Sequence[str],
        data: bytes | StoredInput,
        memory: Reservation,
        *,
        source: int,
        destination: int,
        requires_proof: bool,
    ) -> bytes | bytearray:
        """Run containers for a caller that stores the outcome; returns the last answer.

        `source` and `destination` are those of the whole chain of containers, each hand-over
        between two of them is off-chain. `memory` holds the answers, one at a time, and the last
        one as long as the caller needs it. Raises ContainerFailure, StorageError.
        """
        last = len(containers) - 1
        answer: bytes | bytearray = b""
        stored: Content | None = None
        try:
            for position, container in enumerate(containers):
                # Who waits for a container holds nothing that others may wait for.
                handed, before = data if position == 0 else answer, stored
                if not isinstance(handed, StoredInput) and len(handed) > _SHORT_INPUT:
                    stored = await self._store.keep_temporary(handed)
                    next_input: bytes | StoredInput = self._as_input(stored)
                else:
                    stored = None
                    next_input = bytes(handed) if isinstance(handed, bytearray) else handed
                del handed
                answer = b""
                memory.release()
                if before is not None:
                    await self._store.drop_temporary(before)
                answer = await self._compute_in(
                    container,
                    next_input,
                    memory,
                    source=source if position == 0 else OFF_CHAIN,
                    destination=destination if position == last else OFF_CHAIN,
                    requires_proof=requires_proof,
                )
        finally:
            if stored is not None:
                with contextlib.suppress(StorageError):
                    await self._store.drop_temporary(stored)
        return answer

    async def _compute_in(
        self,
        container: str,
        data: bytes | StoredInput,
        memory: Reservation,
        *,
        source: int,
        destination: int,
        requires_proof: bool,
    ) -> bytes | bytearray:
        """Run one container when its turn has come."""
        station = self._stations.get(container)
        if station is None:
            raise ContainerFailure(f'The container "{container}" is no longer configured')
        turn = station.queue.enter()
        try:
            await turn
            await self._memory.until_free()
            body = request_body(data, source, destination, requires_proof=requires_proof)
            return await self._client.call(station.service, body, memory)
        finally:
            if turn.done() and not turn.cancelled():
                self._pass_on(station)

    async def _run_stream(self, stream: JobStream, station: Station) -> None:
        stream.task = asyncio.current_task()
        turn = station.queue.enter()
        try:
            await turn
            data = await self._store.take_data(stream.job)
            await stream.run(self._as_input(data))
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

    def _join(self, run: Run) -> None:
        station = self._stations[run.job.containers[run.position]]
        if station.queue.join(run):
            self._hold(self._work(station))

    def _pass_on(self, station: Station) -> None:
        """Give the place of a stream that ended to the next in line."""
        run = station.queue.next()
        if run is not None and not self._stopping:
            self._hold(self._work(station, run))

    def _hold(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, station: Station, run: Run | None = None) -> None:
        """Take runs from a queue, one after the other, as long as there are any."""
        run = run or station.queue.next()
        while run is not None and not self._stopping:
            while self._unsaved >= _MAX_UNSAVED:
                self._saved.clear()
                await self._saved.wait()
            if self._memory.is_short:
                await self._memory.until_free()
            await self._step(station.service, run)
            run = station.queue.next()

    async def _step(self, service: Service, run: Run) -> None:
        """Run a job in the container it is at, then send it on or store its end."""
        memory = self._memory.reserve("outputs")
        try:
            output = await self._call(service, run, memory)
            if run.position + 1 == len(run.job.containers):
                result = container_output(service.id, output)
                self._finish(run, SUCCESS, result, memory)
                return  # the outcome holds the memory
            await self._go_on(service, run, output)
        except StorageError:  # the database tells of it, once for all jobs
            if run.position == 0:
                run.data = None  # is read again: many jobs may wait for the disk
            asyncio.get_running_loop().call_later(_SAVE_AGAIN, self._join_again, run)
        except (ContainerFailure, Damaged) as error:
            self._fail(service, run, str(error))
        except Exception:  # a mistake of ours must neither keep the job nor its place for ever
            fields = {"job": run.job.id, "container": service.id}
            logger.exception("job.broken", extra={"fields": fields})
            self._fail(service, run, _OUR_MISTAKE)
        memory.release()

    async def _call(self, service: Service, run: Run, memory: Reservation) -> bytes | bytearray:
        job, data = run.job, run.data
        if data is None:
            data = run.data = await self._store.take_data(job)
        if isinstance(data, bytes) and not memory.try_take(len(data)):
            await memory.wait_for(len(data))
        if not run.started:
            self._count_start(run)
        # Where a job must not run twice, its start is on the disk before the container hears of it.
        if self._config.on_restart == "fail" and job.key not in self._counted:
            await self._store.save_attempts([job])
            self._counted.add(job.key)
        # Every hand-over of a direct job is off-chain on both sides.
        body = request_body(
            self._as_input(data), OFF_CHAIN, OFF_CHAIN, requires_proof=job.requires_proof
        )
        return await self._client.call(service, body, memory)

    def _as_input(self, data: bytes | Content) -> bytes | StoredInput:
        if isinstance(data, bytes):
            return data
        return StoredInput(data.size, functools.partial(self._store.read, data))

    async def _go_on(self, service: Service, run: Run, output: bytes | bytearray) -> None:
        """Send a job to its next container. What is long, or has no room, is stored meanwhile."""
        if len(output) <= PIECE:
            output = bytes(output)
        result = container_output(service.id, output)
        run.size += len(result)
        most = _MAX_KEPT * self._max_bytes
        if run.size > most:
            raise ContainerFailure(f"The outputs of the job are larger than {most} bytes together")
        held = 2 * len(result)  # as a result and as the next input
        if not run.kept and run.size <= PIECE and run.memory.try_take(held):
            run.outputs.append(result)
            run.data = bytes(output)
        else:
            await self._keep(run, [*run.outputs, result])
            before, behind = around_output(service.id)
            size = len(result) - len(before) - len(behind)
            run.data = Content(run.job.key, OUTPUT + run.kept - 1, size, len(before))
        run.position += 1
        self._join(run)

    async def _keep(self, run: Run, outputs: list[bytes | bytearray]) -> None:
        """Store the outputs of a run, again and again if need be."""
        while True:
            try:
                await self._store.keep_outputs(run.job, run.kept, outputs)
                break
            except StorageError:  # the database tells of it
                await asyncio.sleep(_SAVE_AGAIN)
        run.kept += len(outputs)
        run.outputs = []
        run.memory.release()

    def _fail(self, service: Service, run: Run, reason: str) -> None:
        log_event(logger, "job.failed", job=run.job.id, container=service.id, reason=reason)
        self._finish(run, FAILED, container_error(service.id, reason))

    def _finish(
        self, run: Run, status: int, result: bytes | bytearray, *memory: Reservation
    ) -> None:
        between = json_list(run.outputs)
        write = functools.partial(self._store.finish, run.job, status, result, between, run.kept)
        self._save(Outcome(run.job, write, (run.memory, *memory)))

    def _give_up(self, job: Job, reason: str) -> None:
        """Store that a job of an earlier run failed."""
        if job.kind == STREAM:
            write = functools.partial(self._store.finish_stream, job, Streamed(error=reason))
        else:
            result = container_error(job.containers[0], reason)
            write = functools.partial(self._store.finish, job, FAILED, result)
        self._save(Outcome(job, write))

    def _save_stream(self, record: StreamRecord, error: str | None) -> asyncio.Future[None] | None:
        write = functools.partial(self._store.finish_stream, record.job, record.ended(error))
        return self._save(Outcome(record.job, write, (record.memory,)))

    def _count_start(self, run: Run) -> None:
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

    def _join_again(self, run: Run) -> None:
        if not self._stopping:
            self._join(run)

    def _save(self, outcome: Outcome) -> asyncio.Future[None] | None:
        """Store an outcome, again and again if need be: a finished job is not run twice.

        Returns the first attempt to write it; None when the database is closed.
        """
        self._started.pop(outcome.job.key, None)
        self._counted.discard(outcome.job.key)
        self._unsaved += 1
        return self._try_to_save(outcome)

    def _try_to_save(self, outcome: Outcome) -> asyncio.Future[None] | None:
        try:
            written = outcome.write()
        except StorageError:  # the database is closed: the node stops, the job runs again later
            self._unsaved -= 1
            outcome.release()
            return None
        written.add_done_callback(functools.partial(self._on_saved, outcome))
        return written

    def _on_saved(self, outcome: Outcome, written: asyncio.Future[None]) -> None:
        error = None if written.cancelled() else written.exception()
        if isinstance(error, TooLargeToStore | Damaged):
            reason = f"The result cannot be stored: {error}"
            result = container_error(outcome.job.containers[-1], reason)
            outcome.write = functools.partial(self._store.finish, outcome.job, FAILED, result)
            self._try_to_save(outcome)
            return
        if error is not None:
            if not self._to_save_again:
                asyncio.get_running_loop().call_later(_SAVE_AGAIN, self._save_again)
            self._to_save_again.append(outcome)
            return
        self._unsaved -= 1
        outcome.release()
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
            station.queue.clear()
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
