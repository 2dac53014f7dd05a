"""GET /api/events: what happens in the node, as it happens; see events/readers.py."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.json_io import NOSNIFF, disconnected, query
from infernet_edge.errors import BadRequest
from infernet_edge.events.bus import EVENT_TYPES
from infernet_edge.events.readers import EventReader, EventReaders, Selection
from infernet_edge.events.text import HEARTBEAT, MEDIA_TYPE
from infernet_edge.memory import MemoryBudget
from infernet_edge.tasks import cancel

DEFAULT_TYPES: Final = ("job", "container", "storage", "chain")
MIN_PERIOD_SECONDS: Final = 0.1
MAX_PERIOD_SECONDS: Final = 60

_TYPES: Final = tuple(kind.name for kind in EVENT_TYPES)
_HEARTBEAT_PERIOD: Final = 15.0  # seconds without an event, after which a comment is sent
_SENDING_TIME: Final = 60.0  # seconds for a client to read a part of the stream
_MAX_UNSENT: Final = 64 * 2**10  # bytes that the kernel keeps for a client before it sends them
_READER_SIZE: Final = 64 * 2**10  # approximate bytes of memory of a reader
_MAX_PARAMETERS: Final = 40
_HEADERS: Final = [
    (b"content-type", MEDIA_TYPE.encode()),
    NOSNIFF,
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # disables buffering in reverse proxies
]


class EventsEndpoint:
    """A client reads what is for all, and its own jobs; an operator reads everything."""

    methods = ("GET", "HEAD")

    def __init__(self, readers: EventReaders) -> None:
        self._readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["caller"]
        parameters = query(scope, _MAX_PARAMETERS)
        client = None if caller.is_operator else caller.client
        selection = Selection(_types(parameters), client, _period(parameters))
        start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        memory: MemoryBudget = scope["memory"]
        with (
            memory.reserve("answers") as held,
            self._readers.admitted(caller.client, selection, _last_id(scope, parameters)) as reader,
        ):
            held.take(_READER_SIZE)
            _limit_unsent(scope)
            await send(start)
            scope["is_abandoned_at_eof"] = True
            gone = asyncio.ensure_future(disconnected(receive))
            sending = asyncio.ensure_future(_send(reader, send, caller.is_admitted))
            try:
                await asyncio.wait(
                    (gone, sending, reader.dropped), return_when=asyncio.FIRST_COMPLETED
                )
                if sending.done():
                    sending.result()
            finally:
                await cancel(gone, sending)


def _limit_unsent(scope: Scope) -> None:
    """Let the kernel keep little that is not sent, so that a reader is soon known to be slow.

    By default it keeps up to 4 MB for each connection (tcp(7), TCP_NOTSENT_LOWAT).
    """
    connection = scope.get("get_extra_info", dict[str, Any]().get)("socket")
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT)


async def _send(reader: EventReader, send: Send, is_admitted: Callable[[], bool]) -> None:
    """Send events until they end; one that was dropped gets no last chunk.

    So the server closes its connection, and it sees that the stream is incomplete. The stream ends
    when the client's token was revoked or has expired.
    """
    while (text := await reader.next(_HEARTBEAT_PERIOD)) is not None and is_admitted():
        body = {"type": "http.response.body", "body": text or HEARTBEAT, "more_body": True}
        try:
            async with asyncio.timeout(_SENDING_TIME):
                await send(body)
        except TimeoutError:
            return  # the client does not read
        await asyncio.sleep(0)  # a burst of events must not hold up the rest of the node
    if not reader.dropped.done():
        await send({"type": "http.response.body", "body": b""})


def _types(parameters: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The types of events, from one list or several; raises BadRequest."""
    if "types" not in parameters:
        return DEFAULT_TYPES
    wanted = {name.strip() for text in parameters["types"] for name in text.split(",")}
    if not wanted <= set(_TYPES):
        raise BadRequest(f"types: expected a list of {', '.join(_TYPES)}", {"field": "types"})
    return tuple(name for name in _TYPES if name in wanted)


def _period(parameters: Mapping[str, Sequence[str]]) -> float:
    """Seconds from one frame to the next; 0 for single events. Raises BadRequest."""
    try:
        seconds = float(parameters.get("every", ["0"])[-1])
    except ValueError:
        seconds = math.nan
    if seconds == 0 or MIN_PERIOD_SECONDS <= seconds <= MAX_PERIOD_SECONDS:
        return seconds
    raise BadRequest(
        f"every: expected 0 or {MIN_PERIOD_SECONDS} to {MAX_PERIOD_SECONDS} seconds",
        {"field": "every"},
    )


def _last_id(scope: Scope, parameters: Mapping[str, Sequence[str]]) -> str | None:
    """The id of the last event that the client has; None when it has none."""
    for name, value in scope["headers"]:
        if name == b"last-event-id" and value:
            return str(value.decode("latin-1"))
    return parameters.get("last_event_id", [""])[-1] or None
