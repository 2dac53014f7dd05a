"""POST /api/jobs/stream: the job's id, then the container's bytes as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from infernet_edge.api.endpoints.idempotency import refuse_key
from infernet_edge.api.jobs import JobIntake
from infernet_edge.api.json_io import NOSNIFF, BodyReader, disconnected
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.errors import ContainerFailed
from infernet_edge.jobs.streams import JobStream
from infernet_edge.tasks import cancel

_OPENING_TIME = 2.0  # seconds for which a container's failure still becomes an ErrorResponse
# The official client (infernet-client 1.4.0) uses all bytes of its first read as the id, so the
# container's bytes must not arrive together with it: it gets them this many seconds later. Its
# User-Agent is that of its HTTP library, such as "Python/3.11 aiohttp/3.14.5".
_ID_ALONE = 0.02
_OFFICIAL_CLIENT = b" aiohttp/"
_SENDING_TIME = 60.0  # seconds for a client to read a chunk


class StreamEndpoint:
    """Delays the response head for a moment, so that a container that is down is a 502.

    After that moment, or while the job waits for a slot, the id is sent without waiting for the
    container.
    """

    methods = ("POST",)

    def __init__(self, intake: JobIntake, bodies: BodyReader) -> None:
        self._intake = intake
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = await self._open(scope, receive)
        pause = _ID_ALONE if _reads_the_id_alone(scope) else 0.0
        await while_connected(receive, stream, _send(stream, send, pause))

    async def _open(self, scope: Scope, receive: Receive) -> JobStream:
        """Read and store the request; releases its body before the answer is streamed."""
        refuse_key(scope)
        body = await self._bodies.read(scope, receive)
        stream = await self._intake.accept_stream(body, scope["caller"])
        scope["held"].release()
        return stream


def _reads_the_id_alone(scope: Scope) -> bool:
    return any(
        name == b"user-agent" and _OFFICIAL_CLIENT in value for name, value in scope["headers"]
    )


async def while_connected(
    receive: Receive, stream: JobStream, sending: Coroutine[Any, Any, None]
) -> None:
    """Send a stream until it ends or the client of the request leaves, which cancels its job."""
    gone = asyncio.create_task(disconnected(receive))
    task = asyncio.create_task(sending)
    try:
        await asyncio.wait((gone, task), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        stream.cancel()  # does nothing when the stream has ended
        await cancel(gone, task)


async def _send(stream: JobStream, send: Send, pause: float) -> None:
    """Send a stream, with a pause in seconds between its id and the rest.

    Raises ContainerFailed when it failed before anything was sent.
    """
    content_type = ""
    try:
        async with asyncio.timeout(_OPENING_TIME):
            content_type = await asyncio.shield(stream.opened)
    except TimeoutError:
        pass  # the container is slow: send the id now
    except ContainerFailure as error:
        raise ContainerFailed(str(error), {"id": stream.job.id}) from None
    # A content type that is not valid in a header is ignored.
    usable = content_type.isascii() and content_type.isprintable()
    kind = content_type if content_type and usable else "application/octet-stream"
    headers = [
        (b"content-type", kind.encode()),
        NOSNIFF,
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # disables buffering in reverse proxies
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(_SENDING_TIME) as limit:
            await send(_body(stream.job.id.encode() + b"\n"))
            limit.reschedule(None)
            if pause:
                await asyncio.sleep(pause)
            async for chunk in stream.chunks():
                limit.reschedule(clock() + _SENDING_TIME)
                await send(_body(chunk))
                limit.reschedule(None)
    except TimeoutError:
        return  # the client does not read
    if not stream.failed:
        await send({"type": "http.response.body", "body": b""})
    # A failed stream gets no last chunk: the server then closes the connection, and the client
    # detects that the response is incomplete.


def _body(chunk: bytes) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": True}
