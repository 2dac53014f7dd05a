"""A streaming job: bytes from a container to the client that waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from infernet_edge.containers.client import (
    OFF_CHAIN,
    STREAM,
    ContainerFailure,
    ServiceClient,
    StoredInput,
    request_body,
)
from infernet_edge.containers.service import Service
from infernet_edge.errors import StorageError
from infernet_edge.jobs.contents import PIECE
from infernet_edge.jobs.job import Job
from infernet_edge.jobs.result_json import Streamed
from infernet_edge.jobs.store import JobStore
from infernet_edge.logs import log_event
from infernet_edge.memory import Reservation

logger = logging.getLogger(__name__)

_MAX_WAITING = 4  # chunks between container and client; a slow client then slows the container
STREAM_BUFFERS: Final = 8 * PIECE
"""Bytes that a stream has in memory: in the connections, between them, and not yet stored."""

_STORE_AGAIN = 1.0  # seconds until a piece that could not be stored is tried again
_SAVING_TIME = 10.0  # seconds for which the end of a stream waits for its result to be stored
_END: Final = b""


class StreamRecord:
    """What is kept of a stream: at most `most` bytes, all but the `rest` on the disk."""

    def __init__(self, job: Job, store: JobStore, most: int, memory: Reservation) -> None:
        self.job = job
        self.memory = memory
        self.rest = bytearray()
        self.truncated = False
        self._store = store
        self._most = most
        self._size = 0
        self._stored = 0  # pieces
        self._next_try = 0.0

    async def add(self, chunk: bytes) -> None:
        """Keep some more bytes.

        While the disk cannot be written, they stay in memory, and if there is no room, the stream
        has to wait.
        """
        space = self._most - self._size
        self.truncated |= len(chunk) > space
        self.rest += chunk[:space]
        self._size += min(len(chunk), space)
        loop = asyncio.get_running_loop()
        while len(self.rest) >= PIECE:
            if loop.time() >= self._next_try and await self._store_piece():
                continue
            if len(self.rest) < 2 * PIECE or self.memory.try_take(len(chunk)):
                return
            await asyncio.sleep(_STORE_AGAIN)

    def ended(self, error: str | None) -> Streamed:
        """What there is to be stored in the end; `error` when the stream failed."""
        return Streamed(bytes(self.rest), self.truncated, error, self._stored)

    async def _store_piece(self) -> bool:
        try:
            await self._store.keep_streamed(self.job, self._stored, bytes(self.rest[:PIECE]))
        except StorageError:  # the database tells of it
            self._next_try = asyncio.get_running_loop().time() + _STORE_AGAIN
            return False
        self._stored += 1
        del self.rest[:PIECE]
        return True


# Begins to store how a stream ended, with an error when it failed; gives what is done when that is
# stored, None when it is impossible.
Save = Callable[[StreamRecord, str | None], asyncio.Future[None] | None]


class JobStream:
    """One stream. The orchestrator runs it; the API reads it, or abandons it.

    `opened` is done when the container began to answer, with its content type, or failed.
    """

    def __init__(
        self, job: Job, service: Service, client: ServiceClient, record: StreamRecord, save: Save
    ) -> None:
        self.job = job
        self.task: asyncio.Task[None] | None = None
        self.opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(_look_at)
        self.failed = False
        self._ended = False
        self._reason = "The node stopped while the job was streaming"
        self._service = service
        self._client = client
        self._save = save
        self._record = record
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_MAX_WAITING)

    async def run(self, data: bytes | StoredInput) -> None:
        """Call the container and pass on what it sends; stores how the job ended."""
        body = request_body(data, OFF_CHAIN, STREAM, requires_proof=self.job.requires_proof)
        try:
            async with self._client.stream(self._service, body) as stream:
                if not self.opened.done():
                    self.opened.set_result(stream.content_type)
                async for chunk in stream.chunks():
                    await self._chunks.put(chunk)
                    await self._record.add(chunk)
        except ContainerFailure as error:
            await self.break_off(error)
        else:
            self._ended = True
            await _stored(self._save(self._record, None))
            await self._chunks.put(_END)

    async def break_off(self, error: ContainerFailure) -> None:
        """Store that the stream failed, then let its reader know."""
        await _stored(self._save_failure(error))
        self._refuse(error)
        await self._chunks.put(_END)

    def abandon(self) -> None:
        """Store the end of a job that was cut off, by its client or by the node's stop."""
        error = ContainerFailure(self._reason)
        if not self._ended:
            self._save_failure(error)
        self._refuse(error)

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
        if not self.opened.done():
            self.opened.set_exception(error)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The container's bytes. When they end, `failed` says whether they are complete."""
        while chunk := await self._chunks.get():
            yield chunk

    def cancel(self) -> None:
        """The client went away: end the call to the container."""
        self._reason = "The client went away before the stream ended"
        if self.task is not None:
            self.task.cancel()


async def _stored(written: asyncio.Future[None] | None) -> None:
    """Wait for an outcome, so that a client that saw the end of a stream finds its result.

    Where the disk cannot be written, the client need not wait for it: what it came for it has.
    """
    if written is not None:
        await asyncio.wait((written,), timeout=_SAVING_TIME)


def _look_at(opened: asyncio.Future[str]) -> None:
    if not opened.cancelled():
        opened.exception()
