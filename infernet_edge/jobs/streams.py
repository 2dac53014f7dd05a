"""A streaming job: passes bytes from a container to a client while it stores them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import RESTARTED, ServiceClient
from infernet_edge.containers.protocols.call import OFF_CHAIN, STREAM, ContainerInput, StoredInput
from infernet_edge.containers.service import Service
from infernet_edge.errors import StorageError
from infernet_edge.jobs.contents import PIECE
from infernet_edge.jobs.job import CANCELLED, Job
from infernet_edge.jobs.result_json import Streamed
from infernet_edge.jobs.store import JobStore
from infernet_edge.logs import log_event
from infernet_edge.memory import Reservation

logger = logging.getLogger(__name__)

_MAX_WAITING = 4  # chunks between container and client; backpressure for a slow client
STREAM_BUFFERS: Final = 8 * PIECE
"""Bytes in memory for a stream: in both connections, between them, and not yet stored."""

_UNSTORED: Final = 2 * PIECE  # bytes of a stream that may wait for the disk
_MAX_UNSTORED: Final = 16 * PIECE  # the same, while there is memory for more
_STORE_RETRY = 1.0  # seconds until storing a piece is retried
_SAVING_TIME = 10.0  # seconds to wait at the end of a stream until its result is stored
_END: Final = b""


class StreamRecord:
    """The stored part of a stream: its first `max_bytes`.

    Bytes are written in the background, so that the stream does not wait for each commit.
    """

    def __init__(self, job: Job, store: JobStore, max_bytes: int, memory: Reservation) -> None:
        self.job = job
        self.memory = memory
        self.truncated = False
        self._store = store
        self._max_bytes = max_bytes
        self._size = 0
        self._stored = 0  # pieces
        self._writing = b""  # the pieces that follow those, while they are being written
        self._written: asyncio.Future[None] | None = None  # the end of that
        self._rest = bytearray()  # what follows them
        self._allowed = _UNSTORED  # bytes of both
        self._is_failing = False
        self._next_try = 0.0
        self._has_ended = False

    async def add(self, chunk: bytes) -> None:
        """Add bytes.

        While the disk cannot be written, they stay in memory; when there is no memory, the stream
        waits.
        """
        space = self._max_bytes - self._size
        if space < len(chunk):
            self.truncated = True
            chunk = chunk[:space]
        self._rest += chunk
        self._size += len(chunk)
        self._write()
        while len(self._writing) + len(self._rest) >= self._allowed:
            may_grow = self._is_failing or self._allowed < _MAX_UNSTORED
            if may_grow and self.memory.try_take(PIECE):
                self._allowed += PIECE
            elif self._written is not None:
                await asyncio.wait((self._written,))
            else:
                await asyncio.sleep(_STORE_RETRY)
            self._write()

    def ended(self, error: str | None) -> Streamed:
        """What to store at the end; `error` when the stream failed.

        What is still being written is part of it: it may fail, and changes nothing otherwise.
        """
        self._note_written()
        self._has_ended = True
        return Streamed(self._writing + self._rest, self.truncated, error, self._stored)

    def _write(self, _: object = None) -> None:
        """Start to write all whole pieces, when the last ones are written."""
        self._note_written()
        size = len(self._rest) - len(self._rest) % PIECE
        if not size or self._written is not None or self._has_ended:
            return
        if asyncio.get_running_loop().time() < self._next_try:
            return
        text = bytes(memoryview(self._rest)[:size])
        try:
            written = self._store.keep_streamed(self.job, self._stored, text)
        except StorageError:  # the database is closed
            self._note_failure()
            return
        del self._rest[:size]
        self._writing, self._written = text, written
        written.add_done_callback(self._write)

    def _note_written(self) -> None:
        written = self._written
        if written is None or not written.done():
            return
        text, self._writing, self._written = self._writing, b"", None
        if written.cancelled() or written.exception() is not None:  # logged by the database
            self._rest[:0] = text
            self._note_failure()
        else:
            self._stored += len(text) // PIECE
            self._is_failing = False

    def _note_failure(self) -> None:
        self._is_failing = True
        self._next_try = asyncio.get_running_loop().time() + _STORE_RETRY


# Starts to store how a stream ended, with an error when it failed; returns a future that is done
# when that is stored, None when the database is closed.
Save = Callable[[StreamRecord, str | None], asyncio.Future[None] | None]


class JobStream:
    """One stream. The orchestrator runs it; the API reads it, or cancels it.

    `opened` is done, with the content type, when the container starts to answer, or has failed;
    with "" when the job has to wait for a slot first, so that its client can get the id.
    """

    def __init__(
        self, job: Job, service: Service, client: ServiceClient, record: StreamRecord, save: Save
    ) -> None:
        self.job = job
        self.task: asyncio.Task[None] | None = None
        self.opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(_mark_retrieved)
        self.failed = False
        self.failure: ContainerFailure | None = None
        """Why it failed; set before the end of its chunks."""
        self.content_type = ""
        """What the container says of its bytes; set before the first of them."""
        self.slot: asyncio.Future[None] | None = None
        """Done when the stream has a slot of its container."""
        self._ended = False
        self._is_cancelled = False
        self._reason = "The node stopped while the job was streaming"
        self._service = service
        self._client = client
        self._save = save
        self._record = record
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_MAX_WAITING)

    @property
    def container(self) -> str:
        """The container that answers, or is waited for."""
        return self._service.id

    async def run(self, data: bytes | memoryview | StoredInput, memory: Reservation) -> None:
        """Call the container and pass its bytes on; stores how the job ended.

        `memory` is for the input, where the container's protocol needs it as a whole.
        """
        given = ContainerInput(data, OFF_CHAIN, STREAM, self.job.requires_proof)
        timeout, generation = self.job.options.timeout, self._service.generation
        try:
            async with self._client.stream(self._service, given, timeout, memory) as stream:
                self.content_type = stream.content_type
                if not self.opened.done():
                    self.opened.set_result(stream.content_type)
                async for chunk in stream.chunks():
                    await self._chunks.put(chunk)
                    await self._record.add(chunk)
        except ContainerFailure as error:
            restarted = self._service.generation != generation
            await self.fail(ContainerFailure(RESTARTED) if restarted else error)
        else:
            self._ended = True
            await _stored(self._save(self._record, None))
            await self._chunks.put(_END)

    async def fail(self, error: ContainerFailure) -> None:
        """Store that the stream failed, then end it for its reader."""
        await _stored(self._save_failure(error))
        self._refuse(error)
        await self._chunks.put(_END)

    def note_waiting(self) -> None:
        """It waits for a slot: how it goes on will not be known soon."""
        self.opened.set_result("")

    def abandon(self) -> None:
        """Store the end of a job that its client or the stop of the node interrupted."""
        error = ContainerFailure(self._reason)
        if not self._ended:
            self.job.is_cancelled = self._is_cancelled
            self._save_failure(error)
        self._refuse(error)
        while self._chunks.full():  # what is lost for the reader is stored
            self._chunks.get_nowait()
        self._chunks.put_nowait(_END)

    def _save_failure(self, error: ContainerFailure) -> asyncio.Future[None] | None:
        self.failed = self._ended = True
        log_event(
            logger,
            "stream.failed",
            job=self.job.id,
            container=self._service.id,
            reason=str(error),
        )
        return self._save(self._record, str(error))

    def _refuse(self, error: ContainerFailure) -> None:
        self.failure = error
        if not self.opened.done():
            self.opened.set_exception(error)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The container's bytes. At their end, `failed` is False when they are complete."""
        while chunk := await self._chunks.get():
            yield chunk

    def cancel(self) -> None:
        """Cancel the call to the container, because the client has disconnected."""
        if not self._is_cancelled:
            self._reason = "The client went away before the stream ended"
        if self.task is not None:
            self.task.cancel()

    def cancel_job(self) -> None:
        """Cancel the job, unless how it ends is decided; its reader gets an incomplete stream."""
        if self._ended:
            return
        self._is_cancelled = True
        self._reason = CANCELLED
        if self.task is not None:
            self.task.cancel()


async def _stored(written: asyncio.Future[None] | None) -> None:
    """Wait until an outcome is stored, so that a client finds the result after the end of a stream.

    The wait is limited: when the disk cannot be written, the client already has the bytes.
    """
    if written is not None:
        await asyncio.wait((written,), timeout=_SAVING_TIME)


def _mark_retrieved(opened: asyncio.Future[str]) -> None:
    """Retrieve the exception, which asyncio would report where no client waits for it."""
    if not opened.cancelled():
        opened.exception()
