"""The jobs table: every job from its acceptance to the end of its retention.

It is the only owner of job state. Unfinished jobs are also in memory here, at most
`jobs.max_pending`. Their inputs are in memory as far as the budget allows; the others are read when
they are needed.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from msgspec import structs

from infernet_edge.clock import milliseconds
from infernet_edge.containers.answers.failures import Refusal
from infernet_edge.errors import InfernetEdgeError, Unavailable
from infernet_edge.events.bus import Events
from infernet_edge.invariants import InvariantViolated
from infernet_edge.jobs import contents, idempotency, listing, retrieval, table
from infernet_edge.jobs.contents import PIECE, Buffer, Content, Input
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.idempotency import Record, RememberedAnswers
from infernet_edge.jobs.identifiers import (
    JobIds,
    first_not_before,
    from_text,
    to_texts,
)
from infernet_edge.jobs.job import FAILED, RUNNING, SUCCESS, Job, options_text, refusal_text
from infernet_edge.jobs.listing import JobDetails, JobSummary
from infernet_edge.jobs.reading import detail, lists
from infernet_edge.jobs.reading.detail import Course, course_of
from infernet_edge.jobs.reading.recent import Recent
from infernet_edge.jobs.reading.waiting import Name, Waiters
from infernet_edge.jobs.result_json import Streamed, container_error, json_list
from infernet_edge.jobs.retrieval import Result, running
from infernet_edge.jobs.running import job_events
from infernet_edge.jobs.running.held_inputs import HeldInputs
from infernet_edge.jobs.table import Ending
from infernet_edge.memory import MemoryBudget, Reservation
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime

MAX_LISTED: Final = 10_000


class ContentGone(InfernetEdgeError):
    """A content was deleted while it was read."""


class JobStore:
    """Stores jobs durably; `pending` are those that are not finished."""

    def __init__(
        self,
        database: Database,
        external_jobs: ExternalJobs,
        max_pending: int,
        memory: MemoryBudget,
        elapsed: ElapsedTime,
        events: Events | None = None,
    ) -> None:
        self._database = database
        self.events = events or Events()
        self._elapsed = elapsed
        self._external_jobs = external_jobs
        self.max_pending = max_pending
        self._ids = JobIds()
        self._inputs = HeldInputs(memory)
        self._being_read: Counter[bytes] = Counter()
        self._deleting: asyncio.Future[int] | None = None
        self.pending: dict[bytes, Job] = {}
        self.answers = RememberedAnswers(database, elapsed)
        self.recent = Recent()
        self.keep_inputs = "failed"  # jobs.keep_inputs
        self.waiters = Waiters(self._is_unfinished)
        external_jobs.on_end = self.waiters.note_end
        self.closed = ""  # why no job is accepted any more; "" while they are
        self.refusal = ""  # why new jobs are refused, e.g. a full disk; "" when they are not

    async def load(self) -> list[Job]:
        """Read the jobs that an earlier run left unfinished, oldest first; once, at start."""
        await self._database.write(table.prepare)
        await self.answers.load()
        last, jobs = await self._database.read(table.unfinished)
        self._ids = JobIds(last)
        for job in jobs:
            self.pending[job.key] = job
        return list(self.pending.values())

    @property
    def room(self) -> int:
        """How many more jobs may be pending."""
        return max(0, self.max_pending - len(self.pending))

    def close_intake(self, reason: str) -> None:
        """Refuse new jobs from now on."""
        self.closed = reason
        self.events.publish("intake.closed", {"id": "intake", "reason": reason})

    def new_key(self) -> bytes:
        """A key for a new job."""
        return self._ids.next()

    def check_storage(self) -> None:
        """Raise Unavailable when the storage has no space for new jobs."""
        if self.refusal:
            raise Unavailable(self.refusal, retry_after=60)

    async def add(self, jobs: Sequence[Job], record: Record | None = None) -> None:
        """Store new jobs; when this returns they are on the disk.

        `record` is stored with them, in one transaction, to answer a repeated request.

        Raises Unavailable when the queue is full or storage is short, StorageError when the file
        cannot be written; then none of them is stored.
        """
        if self.closed:
            raise Unavailable(self.closed)
        self.check_storage()
        if len(jobs) > self.room:
            raise Unavailable(
                "Too many pending jobs", {"pending": len(self.pending), "limit": self.max_pending}
            )
        now = milliseconds()
        for job in jobs:
            job.input_size = len(job.data or b"")
            job.in_pieces = job.input_size > PIECE
        rows = [
            (
                job.key,
                job.client,
                job.kind,
                RUNNING,
                ",".join(job.containers),
                job.requires_proof,
                job.attempts,
                now,
                options_text(job.options),
                table.IN_PIECES if job.in_pieces else job.data,
            )
            for job in jobs
        ]
        large = [(job.key, job.data) for job in jobs if job.in_pieces and job.data]
        for job in jobs:
            self.pending[job.key] = job
        try:
            if record is None:
                await self._database.write(table.insert, rows, large)
            else:
                await self._database.write(idempotency.insert_with, rows, large, record)
                self.answers.note(record)
        except BaseException:
            for job in jobs:
                self.pending.pop(job.key, None)
                self.waiters.note_end(job.key)
            raise
        for job in jobs:
            job.created_at = now
            self._inputs.hold(job)
        job_events.accepted(self.events, jobs)

    async def take_data(self, job: Job, memory: Reservation | None = None) -> Input:
        """The input of a job that starts now; the store no longer keeps it in memory.

        A long one that it kept is returned as it is, for which `memory` is reserved; otherwise, or
        when there is none, a long one is a reference.
        """
        if job.data is None:
            return await self._database.read(table.input_of, job.key)
        data = self._inputs.release(job)
        if isinstance(data, bytes) or (memory is not None and memory.try_take(len(data))):
            return data
        return Content(job.key, contents.INPUT, len(data))

    async def read(self, content: Content, at_once: int = PIECE) -> AsyncIterator[bytes]:
        """A stored content, piece by piece; `at_once` bytes of them are in memory.

        Raises ContentGone when the job was deleted meanwhile, StorageError.
        """
        offset = 0
        while offset < content.size:
            found = await self._database.read(contents.read_several, content, offset, at_once)
            if not found:
                raise ContentGone("The result was deleted while it was read")
            offset += sum(map(len, found))
            found.reverse()
            while found:
                yield found.pop()

    async def keep_outputs(self, job: Job, first: int, outputs: Sequence[Buffer]) -> None:
        """Store outputs of an unfinished job; `first` is the number of the first of them.

        They become results when the job is finished.
        """
        job.in_pieces = True
        await self._database.write(table.keep_outputs, job.key, first, outputs)

    async def keep_temporary(self, text: Buffer) -> Content:
        """Store a text that belongs to no job, until `drop_temporary` or the next start."""
        return await self._database.write(contents.add_temporary, text)

    async def drop_temporary(self, content: Content) -> None:
        """Delete what `keep_temporary` stored."""
        await self._database.write(contents.drop_temporary, content.job)

    def keep_streamed(self, job: Job, position: int, pieces: bytes) -> asyncio.Future[None]:
        """Store whole pieces of an unfinished stream, see `finish_stream`."""
        job.in_pieces = True
        return self._database.write(contents.append, job.key, contents.STREAMED, position, pieces)

    def note_start(self, job: Job) -> None:
        """Count a start of a job."""
        job.note_start()
        job_events.started(self.events, job)

    async def save_attempts(self, jobs: Sequence[Job]) -> None:
        """Store how often jobs were started."""
        rows = [(job.attempts, job.started_at, job.key) for job in jobs]
        await self._database.write(table.save_attempts, rows)

    def finish(
        self,
        job: Job,
        status: int,
        result: Buffer,
        intermediate: bytes | None = None,
        kept: int = 0,
    ) -> asyncio.Future[None]:
        """Store how a job ended; `result` is a ContainerResult, `intermediate` a list, as JSON.

        `kept`: the number of outputs stored by `keep_outputs`, instead of the list. The future
        fails with StorageError when that cannot be written: the job stays pending.
        """
        job.in_pieces |= len(result) > PIECE
        job.note_end(status, bytes(result) if status == FAILED else b"")
        written = self._database.write(
            table.finish,
            job.key,
            status,
            self._ending(job),
            result,
            intermediate,
            job.in_pieces,
            kept,
        )
        written.add_done_callback(functools.partial(self._forget, job))
        return written

    def finish_stream(self, job: Job, stream: Streamed) -> asyncio.Future[None]:
        """Store how a streaming job ended; fails as `finish` does.

        The text of a stream that failed is its intermediate result.
        """
        error, rest = stream.error, stream.rest
        failure = b"" if error is None else container_error(job.containers[0], error)
        if job.in_pieces:
            job.note_end(SUCCESS if error is None else FAILED, failure)
            written = self._database.write(
                table.finish_stream, job.key, job.containers[0], self._ending(job), stream
            )
            written.add_done_callback(functools.partial(self._forget, job))
            return written
        output = b"".join(stream.output(job.containers[0], lambda: (rest,)))
        if error is None:
            return self.finish(job, SUCCESS, output)
        between = json_list([output]) if rest else None
        return self.finish(job, FAILED, failure, between)

    def _ending(self, job: Job) -> Ending:
        cancelled = 1 if job.is_cancelled else None
        now, passed = milliseconds(), self._elapsed.now()
        refusal, keeps = refusal_text(job.refusal), job.keeps_input(self.keep_inputs)
        return Ending(now, passed, job.started_at, job.attempts, cancelled, refusal, keeps)

    def _forget(self, job: Job, written: asyncio.Future[None]) -> None:
        error = None if written.cancelled() else written.exception()
        has_ended = isinstance(error, InvariantViolated)  # in another way: it must not be retried
        if written.cancelled() or not (error is None or has_ended):
            return
        self.pending.pop(job.key, None)
        self._inputs.release(job)
        self.waiters.note_end(job.key)
        if not has_ended:
            self.recent.note(job, keeps_input=job.keeps_input(self.keep_inputs))
            job_events.ended(self.events, job, job.status, job.failure)

    def _is_unfinished(self, name: Name) -> bool:
        return name in (self.pending if isinstance(name, bytes) else self._external_jobs.running)

    def deadline_after(self, seconds: float) -> int:
        """A deadline so many seconds from now, in the node's own time."""
        return self._elapsed.now() + round(seconds * 1000)

    def seconds_left(self, job: Job) -> float | None:
        """Seconds until the deadline of a job, negative afterwards; None when it has none."""
        deadline = job.options.deadline
        return None if deadline is None else (deadline - self._elapsed.now()) / 1000

    def unfinished_job(self, identifier: str) -> Job | None:
        """The job of any client with this id, while it has not ended."""
        key = from_text(identifier)
        return None if key is None else self.pending.get(key)

    def unfinished(self, client: str | None, identifiers: Sequence[str]) -> list[Name]:
        """Those of the client's jobs (None: of all), and of external jobs, that have not ended."""
        names: list[Name] = []
        for text in identifiers:
            job = self.unfinished_job(text)
            if job is not None and client in (job.client, None):
                names.append(job.key)
            elif text in self._external_jobs.running:
                names.append(text)
        return names

    async def results(
        self, client: str | None, identifiers: Sequence[str], *, intermediate: bool
    ) -> list[Result]:
        """The client's jobs (None: any) in the requested order, without ids that it does not have.

        A job is in the list as often as its id is requested.
        """
        keys = [(text, from_text(text)) for text in identifiers]
        unfinished = filter(None, (self._running(client, key) for _, key in keys))
        found = {job.key: running(job, intermediate=intermediate) for job in unfinished}
        known = [key for _, key in keys if key is not None and key not in found]
        if known:
            if self._deleting is not None:  # it started before these jobs were protected by `kept`
                await asyncio.wait((self._deleting,))
            found |= await self._database.read(retrieval.find, client, known, intermediate)
        missing = [text for text, key in keys if key not in found]
        reported = (
            await self._external_jobs.statuses(list(dict.fromkeys(missing))) if missing else {}
        )
        results = []
        for text, key in keys:
            if key is not None and key in found:
                results.append(found[key])
            elif text in reported:
                between = b"[]" if intermediate else None  # the node runs no container for it
                results.append(Result(text, reported[text], intermediate=between))
        return results

    def _running(self, client: str | None, key: bytes | None) -> Job | None:
        """A job that the client may see, and that has not ended: its state is in memory.

        One that has ended is still running until that is on the disk.
        """
        job = None if key is None else self.pending.get(key)
        seen = job is not None and job.created_at is not None and client in (job.client, None)
        return job if seen else None

    async def detailed(
        self, client: str | None, identifier: str, *, intermediate: bool
    ) -> tuple[Result, Course] | None:
        """A job of the client (None: of any), or an external one, with its course, if it exists."""
        key = from_text(identifier)
        found = None
        if (job := self._running(client, key)) is not None:
            return running(job, intermediate=intermediate), course_of(job)
        if self._deleting is not None:  # as in `results`
            await asyncio.wait((self._deleting,))
        if key is not None:
            found = await self._database.read(detail.find_one, client, key, intermediate)
        if found is None and (course := await self._external_jobs.course(identifier)) is not None:
            for result in await self.results(client, [identifier], intermediate=intermediate):
                return result, course
        return found

    async def identifiers(
        self,
        client: str,
        *,
        pending: bool | None = None,
        limit: int = MAX_LISTED,
        before: str = "",
    ) -> list[str]:
        """Ids of the client's jobs, oldest first: the newest `limit` of those older than `before`.

        `pending` keeps the unfinished (True) or the finished ones (False) only.
        """
        moment, text = await lists.cursor(before, self._external_jobs, self._ids.latest)
        end = first_not_before(moment, text)
        if pending:
            own = (key for key in self.pending if key < end and self._running(client, key))
            found = to_texts(b"".join(sorted(own)[-limit:]).hex())
        else:
            finished = pending is False
            found = await self._database.read(lists.stored_ids, client, end, limit, finished)
        if self._external_jobs.count:
            more = await self._external_jobs.identifiers(client, pending, limit, (moment, text))
            if more:
                found = await asyncio.to_thread(lists.with_external, found, more, limit)
        return found

    async def newest(self, limit: int) -> list[JobSummary]:
        """The newest jobs of all clients, newest first; for the operator."""
        return await self._database.read(listing.newest, min(limit, MAX_LISTED))

    async def details(self, identifier: str) -> JobDetails | None:
        """Everything about a job of any client, also an external one; for the operator."""
        key = from_text(identifier)
        found = None if key is None else await self._database.read(listing.details, key)
        job = self.unfinished_job(identifier)
        if found is not None and found.status == "running" and job is not None:
            # What is in memory is newer.
            return structs.replace(found, attempts=job.attempts, started_at=job.started_at)
        return found or await self._external_jobs.details(identifier)

    async def refusal_of(self, identifier: str) -> Refusal | None:
        """What HTTP says of the failure of a finished job's container; None for nothing."""
        key = from_text(identifier)
        return None if key is None else await self._database.read(table.refusal, key)

    async def has(self, identifier: str) -> bool:
        """Whether the node itself runs or ran a job with this id, for any client."""
        key = from_text(identifier)
        return key is not None and await self._database.read(table.exists, key)

    async def delete_finished(self, before: int, limit: int) -> int:
        """Delete the oldest finished jobs that ended before a time of elapsed.py.

        Deletes at most `limit`, fewer when they are large; returns how many it deleted.
        """
        excluded = frozenset(self._being_read)
        self._deleting = self._database.write(table.delete_finished, before, limit, excluded)
        try:
            return await self._deleting
        finally:
            self._deleting = None

    @contextmanager
    def kept(self, identifiers: Sequence[str]) -> Iterator[None]:
        """Protect these jobs from deletion within the block: their results are being sent."""
        keys = [key for key in map(from_text, identifiers) if key is not None]
        self._being_read.update(keys)
        try:
            yield
        finally:
            self._being_read.subtract(keys)
            for key in keys:
                if not self._being_read[key]:
                    del self._being_read[key]
