"""One HTTP connection: uvicorn's protocol, with bounds on all that a client can hold on to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from infernet_edge.memory import MemoryBudget

_MAX_HEAD = 64 * 2**10  # bytes of request line and headers, or of trailer fields
_FREE_HEAD = 4 * 2**10  # bytes of those that are not counted; most heads have fewer
_MAX_FIELDS = 200  # header fields: each takes many times its bytes
_HEAD_END = b"\r\n\r\n"
_UNREAD_BODY = 16 * 2**10  # bytes of a body that wait for the application
_MAX_BACKLOG = 64 * 2**10  # bytes that wait to be parsed; else reading goes on, to see the end
_MAX_UNSENT = 32 * 2**10  # bytes of an answer that wait to be sent
_MAX_ENCRYPTED = 64 * 2**10  # bytes that TLS keeps while reading is paused


class _Flow(FlowControl):
    """Goes on with the backlog when reading is resumed; with a long one nothing more is read."""

    def __init__(self, transport: asyncio.Transport, parse_backlog: Callable[[], None]) -> None:
        super().__init__(transport)
        self.backlog = 0  # bytes
        self._parse_backlog = parse_backlog

    def resume_reading(self) -> None:
        if self.backlog:
            asyncio.get_running_loop().call_soon(self._parse_backlog)
        if self.backlog < _MAX_BACKLOG:
            super().resume_reading()


class LanProtocol(HttpToolsProtocol):
    """One connection.

    Clients may send requests before earlier ones are answered: `cycle` is the newest request,
    `_answering` the one that is worked on. What belongs to later ones is not parsed before, but
    waits as it came, in the backlog.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        memory: MemoryBudget,
        slowest: int,
        on_lost: Callable[[], None],
        crowded: Callable[[], bool],
        make_room: Callable[[], bool],
    ) -> None:
        """`slowest`: bytes of a body that have to come in a second.

        `crowded` says that others wait for a place; `make_room` closes a connection whose client
        does not take its answer, if there is one.
        """
        super().__init__(config, state, {}, loop)
        self._memory = memory.reserve("requests")  # for a head that is long
        self._backlog_memory = memory.reserve("requests")
        self._slowest = slowest
        self._on_lost = on_lost
        self._make_room = make_room
        self._crowded = crowded
        self._in_head = True
        self._head_bytes = 0
        self._body_bytes = 0
        self._fields = 0
        self._refused = False  # what still comes is not looked at
        self._silent_bytes = 0  # received since the last part of a body
        self._received = b""
        self._backlog = b""  # received, not yet parsed
        self._answering: RequestResponseCycle | None = None
        self._waits_since = 0.0  # loop time at which the client had to do something next
        self._blocked_since = 0.0  # the same, for the taking of an answer
        self._unsent = 0

    @property
    def owed_since(self) -> float | None:
        """Since when (loop time) the client owes us something; None when it waits for us.

        It may owe a request, the rest of one, or the taking of an answer. A body is owed from the
        time on at which it would have come so far, had it come as slowly as is allowed.
        """
        if self.flow.write_paused:
            return self._blocked_since
        answering = self._answering
        if answering is None or answering.response_complete or self.transport.is_closing():
            return self._waits_since
        if answering.more_body:
            return min(self.loop.time(), self._waits_since + self._body_bytes / self._slowest)
        return None

    @property
    def blocked_since(self) -> float | None:
        """Since when (loop time) an answer waits to be taken; None when none does."""
        return self._blocked_since if self.flow.write_paused else None

    @property
    def is_idle(self) -> bool:
        """Between two requests."""
        return self.cycle is not None and self.cycle.response_complete and not self._in_head

    @property
    def is_stuck(self) -> bool:
        """Whether what it owes is nothing that others look after.

        uvicorn ends idle connections, and a body that does not arrive is answered with 408.
        """
        answering = self._answering
        if self._in_head or self.flow.write_paused or self.transport.is_closing():
            return True
        return answering is not None and answering.response_complete and answering.more_body

    def look(self) -> None:
        """See whether some of an answer was taken since the last look."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if self._unsent < before:
            self._blocked_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport, self._parse_backlog)
        transport.set_write_buffer_limits(high=_MAX_UNSENT)
        limit_reading = getattr(transport, "set_read_buffer_limits", None)  # uvloop's, with TLS
        if limit_reading is not None:
            limit_reading(high=_MAX_ENCRYPTED)
        self._waits_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as it is wanted now."""
        few = len(data) <= _UNREAD_BODY and data.count(_HEAD_END) <= 1
        if self._backlog or not few or not self._may_parse():
            self._backlog += data
            self._parse_backlog()
        else:
            self._parse(data)

    def _may_parse(self) -> bool:
        """Whether more of the present request is wanted, or the next one."""
        cycle = self.cycle
        if self.pipeline:
            return False
        if cycle is None or cycle.response_complete:
            return True
        return cycle.more_body and len(cycle.body) < _UNREAD_BODY

    def _parse_backlog(self) -> None:
        if self.transport.is_closing():
            return
        view, place = memoryview(self._backlog), 0
        while place < len(view) and self._may_parse():
            end = place + self._next_part(place)
            self._parse(bytes(view[place:end]))
            place = end
        self._backlog = bytes(view[place:])
        self._flow.backlog = len(self._backlog)
        self._backlog_memory.release()
        # The rest of the present body has its room already.
        others = max(0, len(self._backlog) - self._missing())
        if not self._backlog_memory.try_take(others):
            self._backlog = b""
            self.transport.abort()
        elif len(self._backlog) >= _MAX_BACKLOG:
            self.flow.pause_reading()
        elif not self._backlog:
            self.flow.resume_reading()

    def _next_part(self, place: int) -> int:
        """Bytes of the backlog to be parsed together: of one request, as far as that is known.

        A request takes many times its bytes, so that there should not be many before their turn.
        """
        if missing := self._missing():
            return min(missing, _UNREAD_BODY, len(self._backlog) - place)
        end = self._backlog.find(_HEAD_END, place, place + _UNREAD_BODY)
        return (end + len(_HEAD_END) if end >= 0 else place + _UNREAD_BODY) - place

    def _missing(self) -> int:
        """Bytes of the present body that have to come, where that is known."""
        if self._in_head:
            return 0
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        known = length.isdigit() and len(length) < 19
        return max(0, int(length) - self._body_bytes) if known else 0

    def _parse(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            if self._head_bytes > _MAX_HEAD:
                self._refuse(b"431 Request Header Fields Too Large", b"Headers too large")
                return
            self._head_bytes += len(data)
            if self._head_bytes > _FREE_HEAD and not self._memory.try_take(len(data)):
                self._refuse(b"503 Service Unavailable", b"The memory for requests is used up")
                return
        elif self._silent_bytes > _MAX_HEAD:
            self._refuse(b"431 Request Header Fields Too Large", b"Trailers too large")
            return
        self._silent_bytes += len(data)
        self._received = data
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the fields of a head, and drop those of a trailer section.

        The parser reports both. A client behind a proxy may add trailers to its request, so they
        must not be taken for what the proxy says (RFC 9110, 6.5.1).
        """
        if self._in_head:
            self._fields += 1
            if self._fields <= _MAX_FIELDS:
                super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._silent_bytes = 0
        if not self._refused and self.scope["method"] not in ("GET", "HEAD"):  # nobody reads it
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # The parser takes CONNECT for a wish, too; a head that was refused has no method.
        return self.scope.get("method", "CONNECT") != "CONNECT"

    def handle_websocket_upgrade(self) -> None:
        """Serve a request that wishes for another protocol as if it did not (RFC 9110, 7.8).

        The parser takes all that follows the head for the other protocol, also the body. So a new
        parser gets the head without the wish, and what came behind it.
        """
        stopped = sys.exception()
        behind = stopped.args[0] if isinstance(stopped, httptools.HttpParserUpgrade) else 0
        version = self.scope["http_version"].encode()
        lines = [b"%b %b HTTP/%b" % (self.scope["method"].encode(), self.url, version)]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        super().data_received(b"\r\n".join(lines) + b"\r\n\r\n" + self._received[behind:])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._silent_bytes = self._body_bytes = self._fields = 0
        self._waits_since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        if self._fields > _MAX_FIELDS:
            self._refuse(b"431 Request Header Fields Too Large", b"Too many header fields")
            return
        self._in_head = False
        self._waits_since = self.loop.time()
        super().on_headers_complete()
        if self._crowded() and self.cycle is not None:
            self.cycle.keep_alive = False  # others wait for this place

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._answering = cycle
        scope = cast("dict[str, Any]", cycle.scope)
        scope["is_gone"] = self.transport.is_closing  # not of the cycle, which has the scope
        scope["make_room"] = self._make_room
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        if not self.pipeline and not self._in_head:
            self._memory.release()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._blocked_since = self.loop.time()
        super().pause_writing()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a client that closed its half after the request, as `nc` does.

        A streaming client that closes is taken to be gone: its job costs the container.
        """
        cycle = self.cycle
        asked = cycle is not None and not cycle.response_complete and not cycle.more_body
        if asked and not self._in_head and self.scheme == "http":
            cycle.keep_alive = False
            return not (self._answering and self._answering.scope["path"].endswith("/stream"))
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True  # uvicorn only tells the newest request
            self._answering.message_event.set()
        super().connection_lost(exc)
        self._let_go()
        self._memory.release()
        self._backlog_memory.release()
        self._on_lost()

    def _let_go(self) -> None:
        """Drop what the client sent: parser and protocol hold each other for a while yet."""
        self.pipeline.clear()
        self.headers = []
        self.url = self._received = self._backlog = b""
        self.cycle = self._answering = None  # type: ignore[assignment]
        self.parser = None  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        """Even what is no HTTP is answered with an ErrorResponse."""
        self._refuse(b"400 Bad Request", b"Malformed HTTP request")

    def _refuse(self, status: bytes, error: bytes) -> None:
        if self._refused:
            return
        self._refused = True
        body = b'{"error":"%b","params":{}}' % error
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
            b"cache-control: no-store\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, len(body), body)
        )
        self.transport.close()
