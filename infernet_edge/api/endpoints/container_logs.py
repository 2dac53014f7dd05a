"""GET /api/containers/{id}/logs: the log of a container as NDJSON (https://github.com/ndjson)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.permissions import Permission
from infernet_edge.api.endpoints.containers import managed_service
from infernet_edge.api.endpoints.job import MAX_PARAMETERS, flag
from infernet_edge.api.json_io import NOSNIFF, disconnected, query
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.operating.logs import MAX_TAIL, MAX_WAITING, LineReader
from infernet_edge.containers.service import Service
from infernet_edge.errors import BadRequest, EngineError, Unavailable
from infernet_edge.tasks import cancel

_USUAL_TAIL: Final = 300
_DIGITS: Final = re.compile("[0-9]{1,9}")
_BLANK_AFTER: Final = 15.0  # seconds without a line, after which an empty one is sent
_SENDING_TIME: Final = 30.0  # seconds for a reader to take what is sent
_HEADERS: Final = [
    (b"content-type", b"application/x-ndjson"),
    NOSNIFF,
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # disables buffering in reverse proxies
]


class ContainerLogsEndpoint:
    """The last lines of a container, and with `follow` those that come, over its restarts."""

    methods = ("GET", "HEAD")
    permissions: Mapping[str, Permission] = {
        "GET": Permission.OPERATE,
        "HEAD": Permission.OPERATE,
    }

    def __init__(self, services: Mapping[str, Service], manager: ContainerManager) -> None:
        self._services = services
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = managed_service(self._services, scope)
        parameters = query(scope, MAX_PARAMETERS)
        text = parameters.get("tail", [""])[-1] or str(_USUAL_TAIL)
        if not _DIGITS.fullmatch(text) or int(text) > MAX_TAIL:
            raise BadRequest(
                f"tail: expected a whole number from 0 to {MAX_TAIL}", {"field": "tail"}
            )
        self._manager.operations.usable_engine()
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": b""})
        elif flag(parameters, "follow"):
            with (
                scope["memory"].reserve("answers") as held,
                self._manager.operations.logs.following(service.id, int(text)) as reader,
            ):
                held.take(MAX_WAITING)
                is_admitted = scope["caller"].is_admitted
                await _send_until_gone(_following(reader, is_admitted), receive, send)
        else:
            await _send_until_gone(self._last(service, int(text)), receive, send)

    async def _last(self, service: Service, tail: int) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._manager.operations.logs.last(service.id, tail)) as pieces:
                async for piece in pieces:
                    yield piece
        except EngineError as error:
            raise Unavailable(str(error)) from None


async def _following(
    reader: LineReader, is_admitted: Callable[[], bool]
) -> AsyncGenerator[bytes, None]:
    """What the reader gets, until its token was revoked or has expired.

    An empty line from time to time shows whether its client is there.
    """
    yield b""  # the head of the answer does not wait for a line
    while (taken := await reader.take(_BLANK_AFTER)) is not None and is_admitted():
        yield taken or b"\n"


async def _send_until_gone(
    pieces: AsyncGenerator[bytes, None], receive: Receive, send: Send
) -> None:
    """Send until the end, or until the client disconnects."""
    gone = asyncio.create_task(disconnected(receive))
    sending = asyncio.create_task(_send(pieces, send))
    try:
        await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        await cancel(gone, sending)


async def _send(pieces: AsyncGenerator[bytes, None], send: Send) -> None:
    """Send pieces. What they raise before the first of them is an error answer."""
    is_begun = False
    async for piece in pieces:
        if not is_begun:
            await _begin(send)
            is_begun = True
        if piece:
            try:
                async with asyncio.timeout(_SENDING_TIME):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                return  # the client does not read: its answer stays incomplete
    if not is_begun:
        await _begin(send)
    await send({"type": "http.response.body", "body": b""})


async def _begin(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
