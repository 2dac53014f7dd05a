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
    request_body,
)
from infernet_edge.containers.service import Service
from infernet_edge.jobs.job import FAILED, SUCCESS, Job
from infernet_edge.jobs.results import container_error, json_list, streamed_output
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

# Begins to store an outcome; gives what is done when it is stored, None when that is impossible.
Save = Callable[[Job, int, bytes, bytes | None], asyncio.Future[None] | None]

_MOST_WAITING = 16  # chunks between container and client; a slow client then slows the container
_SAVING_TIME = 10.0  # seconds for which the end of a stream waits for its result to be stored
_END: Final = b""


class JobStream:
    """One stream. The orchestrator runs it; the API reads it, or abandons it.

    `opened` is done when the container began to answer, with its content type, or failed.
    """

    def __init__(
        self, job: Job, service: Service, client: ServiceClient, max_bytes: int, save: Save
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
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self._truncated = False
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)

    async def run(self, data: bytes) -> None:
        """Call the container and pass on what it sends; stores how the job ended."""
        body = request_body(data, OFF_CHAIN, STREAM, requires_proof=self.job.requires_proof)
        try:
            async with self._client.stream(self._service, body) as stream:
                if not self.opened.done():
                    self.opened.set_result(stream.content_type)
                async for chunk in stream.chunks():
                    self._keep(chunk)
                    await self._chunks.put(chunk)
        except ContainerFailure as error:
            await self.break_off(error)
        else:
            self._ended = True
            await _stored(self._save(self.job, SUCCESS, self._output(), None))
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
        between = json_list([self._output()]) if self._kept else None
        result = container_error(self._service.id, str(error))
        return self._save(self.job, FAILED, result, between)

    def _refuse(self, error: ContainerFailure) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)

    def _keep(self, chunk: bytes) -> None:
        space = self._max_bytes - len(self._kept)
        self._kept += chunk[:space]
        self._truncated |= len(chunk) > space

    def _output(self) -> bytes:
        return streamed_output(self._service.id, bytes(self._kept), truncated=self._truncated)

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
