"""Runs accepted jobs through their containers and stores how they end.

Each container has a queue with `max_concurrency` slots. A job waits in the queue of its first
container; with the output of that as its input, it then waits in the queue of the next one.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from infernet_edge.config.model import Jobs
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import RESTARTED, ServiceClient
from infernet_edge.containers.operating.listing import Load
from infernet_edge.containers.protocols.call import OFF_CHAIN, ContainerInput
from infernet_edge.containers.service import Service
from infernet_edge.errors import StorageError, TooLargeToStore
from infernet_edge.invariants import InvariantViolated
from infernet_edge.jobs.contents import OUTPUT, PIECE, Content
from infernet_edge.jobs.job import CANCELLED, DEADLINE_PASSED, FAILED, STREAM, SUCCESS, Job
from infernet_edge.jobs.result_json import (
    Streamed,
    around_output,
    container_error,
    container_output,
    json_list,
)
from infernet_edge.jobs.running.computing import Computing, as_input
from infernet_edge.jobs.running.gates import QueueGates
from infernet_edge.jobs.running.progress import progress_of
from infernet_edge.jobs.running.starts import Starts
from infernet_edge.jobs.runs import Outcome, Progress, Run, ServiceQueue
from infernet_edge.jobs.store import JobStore
from infernet_edge.jobs.streams import STREAM_BUFFERS, JobStream, StreamRecord
from infernet_edge.logs import log_event, log_exception
from infernet_edge.memory import MemoryBudget, Reservation
from infernet_edge.storage.checksums import Damaged
from infernet_edge.tasks import TaskSet

logger = logging.getLogger(__name__)

_MAX_UNSAVED = 256  # outcomes that are being written; beyond that no container is called
_MAX_KEPT = 4  # times the maximum size of an output: the limit for all outputs of one job together
_SAVE_RETRY = 5.0  # seconds until a write that failed is retried
_GRACE = 5.0  # seconds for jobs in flight to finish when the node stops
NOT_CONFIGURED: Final = "A container of the job is no longer configured"
_INTERNAL_ERROR = "The node could not run the job; its log has the details"


class Orchestrator:
    """Runs jobs: takes them from the store and calls the containers."""

    def __init__(
        self,
        config: Jobs,
        store: JobStore,
        services: Mapping[str, Service],
        client: ServiceClient,
        max_bytes: int,
        memory: MemoryBudget,
    ) -> None:
        self._store = store
        self._memory = memory
        self._client = client
        self._max_bytes = max_bytes
        self._queues = {name: ServiceQueue(service) for name, service in services.items()}
        self._tasks = TaskSet(_log_crash)
        self.computing = Computing(self._queues, store, client, memory, self._release_slot)
        self.gates = QueueGates(self._queues, self._start)
        self._in_work: dict[bytes, Run | JobStream] = {}  # the jobs whose end is not decided
        self._starts = Starts(config, store, self._tasks)
        self._unsaved = 0
        self.ended: Counter[tuple[str, str]] = Counter()  # jobs, by container and outcome
        self._failed_saves: list[Outcome] = []
        self._saved = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Resume the jobs that an earlier run of the node left unfinished."""
        for job in await self._store.load():
            reason = self._why_not_resumed(job)
            if reason:
                self._fail_interrupted(job, reason)
            else:
                self.submit(job)
        if resumed := len(self._store.pending):
            log_event(logger, "jobs.resumed", count=resumed)

    def _why_not_resumed(self, job: Job) -> str:
        """The reason why an unfinished job fails instead; "" when it is resumed."""
        if reason := job.why_it_ends_with_the_node:
            return reason
        if self._is_late(job):
            return DEADLINE_PASSED
        if any(container not in self._queues for container in job.containers):
            return NOT_CONFIGURED
        return self._starts.why_not_again(job, "The node stopped while the job was running")

    def apply(self, config: Jobs) -> None:
        """Start jobs, and start them again, by this configuration."""
        self._starts.config = config

    def add(self, service: Service) -> None:
        """Take jobs for a container that was added."""
        self._queues[service.id] = ServiceQueue(service)

    def resize(self, container: str, slots: int) -> None:
        """Change the slots of a container. With 0 its jobs wait; those that it runs go on."""
        self.gates.resize(container, slots)

    def _start(self, queue: ServiceQueue, run: Run) -> None:
        self._tasks.start(self._work(queue, run))

    def submit(self, job: Job) -> None:
        """Run a job that is stored."""
        run = self._in_work[job.key] = Run(job, self._memory.reserve("inputs"))
        if job.options.deadline is not None:
            self._watch_deadline(run)
        self._enqueue(run)

    def _is_late(self, job: Job) -> bool:
        left = self._store.seconds_left(job)
        return left is not None and left <= 0

    def _watch_deadline(self, run: Run) -> None:
        """End a job that still waits for its first container at its deadline."""
        if (left := self._store.seconds_left(run.job)) is not None and left > 0:
            loop = asyncio.get_running_loop()
            run.deadline = loop.call_later(left, self._watch_deadline, run)
        elif not self._stopping and self._queues[run.container].slots.remove(run):
            self._fail(self._queues[run.container].service, run, DEADLINE_PASSED)

    def progress_of(self, keys: Iterable[bytes]) -> dict[bytes, Progress]:
        """Where jobs are now; without those that have ended, or whose end is being stored."""
        return progress_of(self._in_work, self._queues, keys)

    def load(self, container: str) -> Load:
        """How many jobs a container has."""
        return self._queues[container].load()

    def cancel(self, job: Job) -> None:
        """End an unfinished job: its end is stored as soon as that is possible.

        A job whose end is decided, but not yet stored, ends in that way. This is the only other
        place that decides an end, and it does so only while the job is in no other hands: in a
        queue, or in a call, which it interrupts. In all other cases the next step finds the flag.
        """
        if job.cancel_requested:
            return
        job.cancel_requested = True
        work = self._in_work.get(job.key)
        if isinstance(work, JobStream):
            work.cancel_job()
        elif work is not None and self._queues[work.container].slots.remove(work):
            self._finish_cancelled(work)
        elif work is not None and work.call is not None:
            work.call.cancel()

    def stream_memory(self) -> Reservation:
        """Memory for the buffers of a streaming job; raises Unavailable when there is none."""
        memory = self._memory.reserve("streams")
        memory.take(STREAM_BUFFERS)
        return memory

    def open_stream(self, job: Job, memory: Reservation) -> JobStream:
        """Start a streaming job that is stored; only its first container runs."""
        queue = self._queues[job.containers[0]]
        record = StreamRecord(job, self._store, self._max_bytes, memory)
        stream = JobStream(job, queue.service, self._client, record, self._save_stream)
        self._in_work[job.key] = stream
        self._tasks.start(self._run_stream(stream, queue))
        return stream

    async def _run_stream(self, stream: JobStream, queue: ServiceQueue) -> None:
        stream.task = asyncio.current_task()
        if stream.job.cancel_requested:  # before this task ran
            stream.abandon()
            return
        slot = stream.slot = queue.slots.acquire(stream.job.options.priority)
        if not slot.done():
            stream.note_waiting()
        try:
            async with asyncio.timeout(self._store.seconds_left(stream.job)):
                await slot
            self._store.note_start(stream.job)
            data = await self._store.take_data(stream.job)
            await stream.run(as_input(self._store, data), self._memory.reserve("outputs"))
        except asyncio.CancelledError:
            stream.abandon()
            raise
        except TimeoutError:
            await stream.fail(ContainerFailure(DEADLINE_PASSED))
        except Exception as error:  # noqa: BLE001 - as in `_step`
            container = queue.service.id
            log_exception(logger, "stream.crashed", error, job=stream.job.id, container=container)
            await stream.fail(ContainerFailure(_INTERNAL_ERROR))
        finally:
            if slot.done() and not slot.cancelled():
                self._release_slot(queue)

    def _enqueue(self, run: Run) -> None:
        if run.job.cancel_requested:
            self._finish_cancelled(run)
            return
        queue = self._queues[run.job.containers[run.position]]
        if queue.slots.put(run, run.job.options.priority):
            self._tasks.start(self._work(queue))

    def _release_slot(self, queue: ServiceQueue) -> None:
        """Release the slot of a stream or a `compute`, or start a worker in it for the next job."""
        run = queue.slots.next()
        if run is not None and not self._stopping:
            self._start(queue, run)

    async def _work(self, queue: ServiceQueue, run: Run | None = None) -> None:
        """Take runs from a queue, one after the other, until it is empty."""
        run = run or queue.slots.next()
        while run is not None and not self._stopping:
            if not await self._step(queue.service, run):
                run = queue.slots.next()

    async def _step(self, service: Service, run: Run) -> bool:
        """Run a job in its current container, then queue it for the next or store its outcome.

        Returns whether it has to run there again, since the node restarted the container.
        """
        if run.job.cancel_requested:
            self._finish_cancelled(run)
            return False
        memory = self._memory.reserve("outputs")
        task = run.call = asyncio.current_task()
        try:
            output = await self._call(service, run, memory)
            run.call = None  # no cancellation interrupts what follows
            if run.position + 1 == len(run.job.containers):
                result = container_output(service.id, output)
                self._finish(run, SUCCESS, result, memory)
                return False  # the outcome holds the memory
            await self._advance(service, run, output)
        except StorageError:  # logged by the database, once for all jobs
            if run.position == 0:
                run.drop_input()  # read again later: many jobs may wait for the disk
            asyncio.get_running_loop().call_later(_SAVE_RETRY, self._enqueue_again, run)
        except (ContainerFailure, Damaged) as error:
            if isinstance(error, ContainerFailure) and error.interrupted:
                memory.release()
                return self._starts_again(service, run)
            run.job.refusal = getattr(error, "refusal", None)
            self._fail(service, run, str(error))
        except Exception as error:  # noqa: BLE001 - a defect must not block the job and its slot
            log_exception(logger, "job.crashed", error, job=run.job.id, container=service.id)
            self._fail(service, run, _INTERNAL_ERROR)
        except asyncio.CancelledError:
            # The task serves other jobs after this one. What is left is the stop of the node.
            if not run.job.cancel_requested or task is None or task.uncancel():
                raise
            self._finish_cancelled(run)
        finally:
            run.call = None
        memory.release()
        return False

    def _starts_again(self, service: Service, run: Run) -> bool:
        """Whether a job runs again whose container was restarted; otherwise it fails."""
        job = run.job
        if reason := self._starts.why_not_again(job, RESTARTED):
            self._fail(service, run, reason)
            return False
        log_event(logger, "job.repeated", job=job.id, container=service.id, attempts=job.attempts)
        self._starts.forget(job)
        run.started, run.deadline = False, None
        return True

    async def _call(self, service: Service, run: Run, memory: Reservation) -> bytes | bytearray:
        while self._unsaved >= _MAX_UNSAVED:
            self._saved.clear()
            await self._saved.wait()
        if self._memory.is_short:
            await self._memory.until_free()
        job, data = run.job, run.data
        if data is None:
            data = run.data = await self._store.take_data(job, run.memory)
        if isinstance(data, bytes) and not memory.try_take(len(data)):
            await memory.wait_for(len(data))
        if not run.started:
            if run.deadline is not None:
                run.deadline.cancel()
                if self._is_late(job):
                    raise ContainerFailure(DEADLINE_PASSED)
            run.started = True
            self._starts.note(job)
        if self._starts.needs_storing(job):
            await self._starts.store(job)
        # Source and destination of a direct job are always off-chain.
        passed = as_input(self._store, data)
        given = ContainerInput(passed, OFF_CHAIN, OFF_CHAIN, job.requires_proof)
        return await self._client.call(service, given, memory, timeout=job.options.timeout)

    async def _advance(self, service: Service, run: Run, output: bytes | bytearray) -> None:
        """Queue a job for its next container; stores an output that is long or has no memory."""
        if len(output) <= PIECE:
            output = bytes(output)
        result = container_output(service.id, output)
        run.size += len(result)
        limit = _MAX_KEPT * self._max_bytes
        if run.size > limit:
            raise ContainerFailure(f"The outputs of the job are larger than {limit} bytes together")
        run.drop_input()
        held = 2 * len(result)  # as a result and as the next input
        if not run.kept and run.size <= PIECE and run.memory.try_take(held):
            run.outputs.append(result)
            run.data = bytes(output)
        else:
            await self._keep(run, [*run.outputs, result])
            before, after = around_output(service.id)
            size = len(result) - len(before) - len(after)
            run.data = Content(run.job.key, OUTPUT + run.kept - 1, size, len(before))
        run.position += 1
        self._enqueue(run)

    async def _keep(self, run: Run, outputs: list[bytes | bytearray]) -> None:
        """Store the outputs of a run; retries until that succeeds."""
        while True:
            try:
                await self._store.keep_outputs(run.job, run.kept, outputs)
                break
            except StorageError:  # logged by the database
                await asyncio.sleep(_SAVE_RETRY)
        run.kept += len(outputs)
        run.outputs = []
        run.memory.release()

    def _fail(self, service: Service, run: Run, reason: str) -> None:
        log_event(logger, "job.failed", job=run.job.id, container=service.id, reason=reason)
        self._finish(run, FAILED, container_error(service.id, reason))

    def _finish_cancelled(self, run: Run) -> None:
        run.job.is_cancelled = True
        log_event(logger, "job.cancelled", job=run.job.id, container=run.container)
        self._finish(run, FAILED, container_error(run.container, CANCELLED))

    def _finish(
        self, run: Run, status: int, result: bytes | bytearray, *memory: Reservation
    ) -> None:
        between = json_list(run.outputs)
        write = functools.partial(self._store.finish, run.job, status, result, between, run.kept)
        self._save(Outcome(run.job, run.container, status, write, (run.memory, *memory)))

    def _fail_interrupted(self, job: Job, reason: str) -> None:
        """Store that a job of an earlier run of the node failed."""
        if job.kind == STREAM:
            write = functools.partial(self._store.finish_stream, job, Streamed(error=reason))
        else:
            result = container_error(job.containers[0], reason)
            write = functools.partial(self._store.finish, job, FAILED, result)
        self._save(Outcome(job, job.containers[0], FAILED, write))

    def _save_stream(self, record: StreamRecord, error: str | None) -> asyncio.Future[None] | None:
        write = functools.partial(self._store.finish_stream, record.job, record.ended(error))
        job, status = record.job, SUCCESS if error is None else FAILED
        return self._save(Outcome(job, job.containers[0], status, write, (record.memory,)))

    def _enqueue_again(self, run: Run) -> None:
        if not self._stopping:
            self._enqueue(run)

    def _save(self, outcome: Outcome) -> asyncio.Future[None] | None:
        """Store an outcome; retries until that succeeds, so that a finished job is not run twice.

        Returns the first attempt to write it; None when the database is closed.
        """
        work = self._in_work.pop(outcome.job.key, None)
        if isinstance(work, Run) and work.deadline is not None:
            work.deadline.cancel()
        self._starts.forget(outcome.job)
        self._unsaved += 1
        return self._try_to_save(outcome)

    def _try_to_save(self, outcome: Outcome) -> asyncio.Future[None] | None:
        try:
            written = outcome.write()
        except StorageError:  # closed at shutdown: the job runs again after the start
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
            outcome.status = FAILED
            outcome.write = functools.partial(self._store.finish, outcome.job, FAILED, result)
            self._try_to_save(outcome)
            return
        if isinstance(error, InvariantViolated):
            log_exception(logger, "job.crashed", error, job=outcome.job.id, container="")
        elif error is not None:
            if not self._failed_saves:
                asyncio.get_running_loop().call_later(_SAVE_RETRY, self._retry_saves)
            self._failed_saves.append(outcome)
            return
        self._unsaved -= 1
        self.ended[outcome.container, outcome.name] += 1
        outcome.release()
        self._saved.set()

    def _retry_saves(self) -> None:
        outcomes, self._failed_saves = self._failed_saves, []
        for outcome in outcomes:
            self._try_to_save(outcome)

    @property
    def stop_seconds(self) -> float:
        """The maximum wait of `stop` for jobs in flight."""
        return _GRACE

    async def stop(self) -> None:
        """Let jobs in flight finish for a few seconds; the others are resumed at the next start.

        May be called twice.
        """
        if self._stopping:
            return
        self._stopping = True
        self._saved.set()
        self._starts.stop()
        await self._tasks.wait(_GRACE)
        for queue in self._queues.values():
            queue.slots.clear()
        await self._tasks.stop()
        await self._starts.uncount()


def _log_crash(error: BaseException) -> None:
    """A defect outside of all jobs: a worker of a queue has ended."""
    log_exception(logger, "worker.crashed", error)
