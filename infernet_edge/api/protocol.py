"""One HTTP connection: uvicorn's protocol, with limits for everything that a client can occupy."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from infernet_edge.memory import MemoryBudget

_MAX_HEAD = 64 * 2**10  # bytes of request line and headers, or of trailer fields
_FREE_HEAD = 4 * 2**10  # bytes of those without a reservation; enough for usual heads
_MAX_FIELDS = 200  # header fields: each takes much more memory than its bytes
_HEAD_END = b"\r\n\r\n"
_UNREAD_BODY = 16 * 2**10  # bytes of a body that wait for the application
_MAX_BACKLOG = 64 * 2**10  # bytes that wait to be parsed; below it reading continues, to detect EOF
_MAX_UNSENT = 32 * 2**10  # bytes of an answer that wait to be sent
_MAX_ENCRYPTED = 64 * 2**10  # bytes that TLS keeps while reading is paused


class _Flow(FlowControl):
    """Parses the backlog when reading is resumed; with a long backlog, reading stays paused."""

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
    `_answering` the one that is being answered. Bytes of later ones are not parsed before that is
    done, but wait in the backlog.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        memory: MemoryBudget,
        min_rate: int,
        on_lost: Callable[[], None],
        is_crowded: Callable[[], bool],
        make_room: Callable[[], bool],
    ) -> None:
        """`min_rate`: bytes per second of a body that have to arrive.

        `is_crowded`: other connections wait for a slot. `make_room` closes a connection whose
        client does not read its answer, if there is one.
        """
        super().__init__(config, state, {}, loop)
        self._memory = memory.reserve("requests")  # for a head that is long
        self._backlog_memory = memory.reserve("requests")
        self._min_rate = min_rate
        self._on_lost = on_lost
        self._make_room = make_room
        self._is_crowded = is_crowded
        self._in_head = True
        self._head_bytes = 0
        self._body_bytes = 0
        self._fields = 0
        self._refused = False  # what still arrives is ignored
        self._silent_bytes = 0  # received since the last part of a body
        self._received = b""
        self._backlog = b""  # received; the first `_parsed` bytes of it are parsed
        self._parsed = 0
        self._answering: RequestResponseCycle | None = None
        self._waiting_since = 0.0  # loop time since which the client has to do something
        self._blocked_since = 0.0  # the same, for reading an answer
        self._unsent = 0
        self._whole: bytearray | None = None  # where the body goes, see `_collect`

    @property
    def waiting_since(self) -> float | None:
        """Since when (loop time) the node waits for the client; None while the client waits.

        It may wait for a request, the rest of one, or until an answer is read. For a body, it is
        the time at which the received part would have arrived at the minimum rate.
        """
        if self.flow.write_paused:
            return self._blocked_since
        answering = self._answering
        if answering is None or answering.response_complete or self.transport.is_closing():
            return self._waiting_since
        if answering.more_body:
            return min(self.loop.time(), self._waiting_since + self._body_bytes / self._min_rate)
        return None

    @property
    def blocked_since(self) -> float | None:
        """Since when (loop time) an answer is not read; None when all of it was sent."""
        return self._blocked_since if self.flow.write_paused else None

    @property
    def is_idle(self) -> bool:
        """Whether it is between two requests."""
        return self.cycle is not None and self.cycle.response_complete and not self._in_head

    @property
    def is_stuck(self) -> bool:
        """Whether only the sweep of the server can end this wait.

        uvicorn closes idle connections, and BodyReader answers 408 when a body does not arrive.
        """
        answering = self._answering
        if self._in_head or self.flow.write_paused or self.transport.is_closing():
            return True
        return answering is not None and answering.response_complete and answering.more_body

    def check_progress(self) -> None:
        """Restart the time of a blocked answer when some of it was received since the last call.

        What the kernel has counts as well: of megabytes in its buffer, it asks for more only when
        a third has gone, which can take a slow client longer than it may be stuck.
        """
        if not self.flow.write_paused:
            return
        left = self.transport.get_write_buffer_size() + _not_acknowledged(self.transport)
        before, self._unsent = self._unsent, left
        if left < before:
            self._blocked_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport, self._parse_backlog)
        transport.set_write_buffer_limits(high=_MAX_UNSENT)
        limit_reading = getattr(transport, "set_read_buffer_limits", None)  # uvloop's, with TLS
        if limit_reading is not None:
            limit_reading(high=_MAX_ENCRYPTED)
        self._waiting_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Parse what was received, as far as it is needed now."""
        few = len(data) <= _UNREAD_BODY and data.count(_HEAD_END) <= 1
        if self._backlog or not few or not self._may_parse():
            self._backlog = self._backlog[self._parsed :] + data if self._backlog else data
            self._parsed = 0
            self._parse_backlog()
        else:
            self._parse(data)

    def _may_parse(self) -> bool:
        """Whether more of the current request is needed, or the next one."""
        cycle = self.cycle
        if self.pipeline:
            return False
        if cycle is None or cycle.response_complete:
            return True
        return cycle.more_body and len(cycle.body) < _UNREAD_BODY

    def _parse_backlog(self) -> None:
        if self.transport.is_closing():
            return
        backlog, start = self._backlog, self._parsed
        while start < len(backlog) and self._may_parse():
            end = start + self._next_part(start)
            self._parse(backlog[start:end])
            start = end
        if start == len(backlog):
            self._backlog, self._parsed = b"", 0
        else:  # what was parsed stays in memory for a moment: each copy of the rest costs time
            self._parsed = start
        left = self._flow.backlog = len(self._backlog) - self._parsed
        self._backlog_memory.release()
        # The rest of the current body has its memory already.
        others = max(0, left - self._missing())
        if not self._backlog_memory.try_take(others):
            self._backlog, self._parsed = b"", 0
            self.transport.abort()
        elif left >= _MAX_BACKLOG:
            self.flow.pause_reading()
        elif not left:
            self.flow.resume_reading()

    def _next_part(self, start: int) -> int:
        """Bytes of the backlog to parse together: of one request, as far as that is known.

        A parsed request takes much more memory than its bytes, so later ones are not parsed early.
        """
        if missing := self._missing():
            left = len(self._backlog) - start
            return min(missing, left if self._whole is not None else min(left, _UNREAD_BODY))
        end = self._backlog.find(_HEAD_END, start, start + _UNREAD_BODY)
        return (end + len(_HEAD_END) if end >= 0 else start + _UNREAD_BODY) - start

    def _missing(self) -> int:
        """Bytes of the current body that are missing, where that is known."""
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
        must not be treated as fields of the proxy (RFC 9110, 6.5.1).
        """
        if self._in_head:
            self._fields += 1
            if self._fields <= _MAX_FIELDS:
                super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._silent_bytes = 0
        if not self._refused and self.scope["method"] not in ("GET", "HEAD"):  # not read there
            if self._whole is not None and not self.cycle.response_complete:
                self._whole += body
                body = b""
            super().on_body(body)  # wakes the application

    def _collect(self, whole: bytearray) -> bool:
        """Append the body of the request that is being answered to `whole` as it arrives.

        The caller has memory for all of it. `receive` then waits for each part, but its bodies are
        empty: a long body is copied once, in the parts in which the kernel has it. Returns
        whether that is done; not where the body has arrived.
        """
        cycle = self.cycle
        if cycle is not self._answering or not cycle.more_body:
            return False
        whole += cycle.body
        cycle.body = bytearray()
        self._whole = whole
        return True

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # The parser treats CONNECT as an upgrade, too; a head that was refused has no method.
        return self.scope.get("method", "CONNECT") != "CONNECT"

    def handle_websocket_upgrade(self) -> None:
        """Ignore the upgrade that a request asks for, and serve it (RFC 9110, 7.8).

        The parser stops after the head, since the other protocol would follow, also when there is
        a body. So a new parser gets the head without the upgrade field, and the bytes after it.
        """
        stopped = sys.exception()
        offset = stopped.args[0] if isinstance(stopped, httptools.HttpParserUpgrade) else 0
        version = self.scope["http_version"].encode()
        lines = [b"%b %b HTTP/%b" % (self.scope["method"].encode(), self.url, version)]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        super().data_received(b"\r\n".join(lines) + b"\r\n\r\n" + self._received[offset:])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._silent_bytes = self._body_bytes = self._fields = 0
        self._whole = None
        self._waiting_since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        if self._fields > _MAX_FIELDS:
            self._refuse(b"431 Request Header Fields Too Large", b"Too many header fields")
            return
        self._in_head = False
        self._waiting_since = self.loop.time()
        super().on_headers_complete()
        if self._is_crowded() and self.cycle is not None:
            self.cycle.keep_alive = False  # other connections wait for this slot

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._answering = cycle
        scope = cast("dict[str, Any]", cycle.scope)
        scope["is_gone"] = (
            self.transport.is_closing
        )  # not a method of the cycle, which has the scope
        scope["make_room"] = self._make_room
        scope["collect"] = self._collect
        scope["get_extra_info"] = self.transport.get_extra_info
        if scope["http_version"] == "1.0":
            app = _without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        self._waiting_since = self.loop.time()
        if not self.pipeline and not self._in_head:
            self._memory.release()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._blocked_since = self.loop.time()
        super().pause_writing()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a client that closed its sending side after the request, as `nc` does.

        A client that closes counts as disconnected where the rest of its request costs much: a
        stream occupies a container, a wait a slot for it (`is_abandoned_at_eof` in the scope).
        """
        cycle = self.cycle
        asked = cycle is not None and not cycle.response_complete and not cycle.more_body
        if asked and not self._in_head and self.scheme == "http":
            cycle.keep_alive = False
            return not (self._answering and _is_abandoned_at_eof(self._answering.scope))
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True  # uvicorn only notifies the newest request
            self._answering.message_event.set()
        super().connection_lost(exc)
        self._drop_references()
        self._memory.release()
        self._backlog_memory.release()
        self._on_lost()

    def _drop_references(self) -> None:
        """Drop what the client sent: parser and protocol are a reference cycle, freed later."""
        self.pipeline.clear()
        self.headers = []
        self.url = self._received = self._backlog = b""
        self.cycle = self._answering = None  # type: ignore[assignment]
        self._whole = None
        self.parser = None  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with an ErrorResponse, too."""
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


def _not_acknowledged(transport: asyncio.Transport) -> int:
    """Bytes in the kernel's send buffer that the client has not received: SIOCOUTQ of tcp(7)."""
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # it has just been closed
        return 0


def _is_abandoned_at_eof(scope: Any) -> bool:
    return bool(scope["path"].endswith("/stream") or scope.get("is_abandoned_at_eof"))


def _without_chunks(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """The application for a client of HTTP/1.0, which does not know chunks (RFC 9112, 7.1).

    uvicorn sends an answer of unknown length in chunks to every client. Here it ends where the
    connection is closed, as uvicorn does after each answer to such a client.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        is_unbounded = False

        async def send_plainly(message: Message) -> None:
            nonlocal is_unbounded
            if message["type"] == "http.response.start":
                names = [name.lower() for name, _ in message["headers"]]
                is_unbounded = b"content-length" not in names
                if is_unbounded:
                    cycle.chunked_encoding = False
                    cycle.expected_content_length = sys.maxsize
            elif is_unbounded and not message.get("more_body", False):
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        try:
            await app(scope, receive, send_plainly)
        finally:
            is_closed = cycle.response_complete or cycle.transport.is_closing()
            if is_unbounded and not is_closed:
                _break_off(cycle.transport, is_encrypted=scope["scheme"] == "https")

    return run


def _break_off(transport: asyncio.Transport, *, is_encrypted: bool) -> None:
    """End a connection, which is about to be closed, so that the client sees an error.

    Where nothing says how long an answer is, a connection that is closed would complete it. Without
    a time for what was not sent the kernel resets it; TLS ends without its closing message.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if is_encrypted:
        transport.abort()
