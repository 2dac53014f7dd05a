"""The listening socket and its connections, with bounds on all that a client can hold on to.

uvicorn's HTTP protocol does the talking; its Server is not used: it wakes ten times a second when
idle, does not bound connections by what the process may open, and lets slow clients stay for ever.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import sys
from collections.abc import Callable

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from infernet_edge.config.tree import Server
from infernet_edge.errors import StartupError
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 1024  # more wait in the kernel's queue until one of these ends
_BACKLOG = 2048
_MOST_HEAD = 64 * 2**10  # bytes of request line and headers, or of trailer fields
_KEEP_ALIVE = 20  # seconds for which an idle connection is kept
_HANDSHAKE_TIME = 10.0  # seconds for that of TLS
_SWEEP = 5.0  # seconds between two looks at the connections, while there are any
_PATIENCE = 4  # looks at which a connection may be stuck at the same thing
_PATIENCE_WHEN_CROWDED = 1
_FEWEST_CONNECTIONS = 32


class LanProtocol(HttpToolsProtocol):
    """One connection. `owes` says that the other side has to do something next.

    Clients may send requests before earlier ones are answered: `cycle` is the newest request,
    `_answering` the one that is worked on.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        on_made: Callable[[], None],
        on_lost: Callable[[], None],
        crowded: Callable[[], bool],
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.stuck = 0
        self._unsent = 0
        self._on_made = on_made
        self._on_lost = on_lost
        self._crowded = crowded
        self._in_head = True
        self._head_bytes = 0
        self._silent_bytes = 0  # received since the last part of a body
        self._received = b""
        self._answering: RequestResponseCycle | None = None

    @property
    def idle(self) -> bool:
        """Between two requests."""
        return self.cycle is not None and self.cycle.response_complete and not self._in_head

    @property
    def owes(self) -> bool:
        """Whether a head, the rest of a body or the taking of an answer is still to come."""
        if self._in_head or self.transport.is_closing() or self.flow.write_paused:
            return True
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def takes_its_answer(self) -> bool:
        """Whether some of what waits to be sent has left since the last time of asking."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        return self._unsent < before

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._on_made()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._head_bytes > _MOST_HEAD:
                self._refuse(b"431 Request Header Fields Too Large", b"Headers too large")
                return
            self._head_bytes += len(data)
        elif self._silent_bytes > _MOST_HEAD:
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
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        super().on_body(body)

    def _should_upgrade(self) -> bool:
        return self.scope["method"] != "CONNECT"  # the parser takes that for a wish, too

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
        self._head_bytes = self._silent_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        if self._crowded() and self.cycle is not None:
            self.cycle.keep_alive = False  # others wait for this place

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._answering = cycle
        cycle.scope["is_gone"] = lambda: cycle.disconnected  # type: ignore[typeddict-unknown-key]
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def resume_writing(self) -> None:
        self.stuck = 0  # the client takes its answer, however slowly
        super().resume_writing()

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
        self._on_lost()

    def send_400_response(self, msg: str) -> None:
        """Even what is no HTTP is answered with an ErrorResponse."""
        self._refuse(b"400 Bad Request", b"Malformed HTTP request")

    def _refuse(self, status: bytes, error: bytes) -> None:
        body = b'{"error":"%b","params":{}}' % error
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
            b"cache-control: no-store\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, len(body), body)
        )
        self.transport.close()


class LanServer:
    """Serves an ASGI application on one socket."""

    def __init__(
        self, settings: Server, app: ASGIApp, *, max_connections: int = MOST_CONNECTIONS
    ) -> None:
        self._settings = settings
        tls = settings.tls
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # api/access.py decides whom to believe
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            ssl_certfile=tls.cert if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        # What uvicorn reports are clients' mistakes; ours are logged by the application.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._state = ServerState()
        self._socket: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._open = 0
        self.max_connections = max_connections  # `start` lowers it to what the open files allow

    @property
    def port(self) -> int:
        """The port that is listened on, also when the configuration says 0 (any free one)."""
        return int(self._socket.getsockname()[1]) if self._socket else self._settings.port

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return self._open

    @property
    def requests_in_work(self) -> int:
        """How many requests the application works on now."""
        return len(self._state.tasks)

    @property
    def accepting(self) -> bool:
        """Whether new connections are accepted; not while there are `max_connections`."""
        return self._listener is not None

    @property
    def sweeping(self) -> bool:
        """Whether a timer runs that ends stuck connections; not while there are none."""
        return self._sweeper is not None

    def bind(self) -> None:
        """Take the port, so that a busy one is the first thing to fail; raises StartupError."""
        host, port = self._settings.host, self._settings.port
        try:
            self._config.load()
        except OSError as error:  # ssl.SSLError is one
            raise StartupError(f"server.tls cannot be used: {error}") from error
        try:
            family, *_, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.create_server(
                address[:2],
                family=family,
                backlog=_BACKLOG,
                dualstack_ipv6=family == socket.AF_INET6 and host == "::",
            )
        except OSError as error:
            raise StartupError(
                f"Cannot listen on {host} port {port}: {error.strerror or error}. If another"
                " program uses the port, stop it or set server.port to another one"
                " (`ss -ltnp` lists who listens)."
            ) from error

    async def start(self, reserve: int) -> None:
        """Accept connections, leaving `reserve` file descriptors for the rest of the node."""
        limit = raise_file_limit()
        allowed = max(_FEWEST_CONNECTIONS, limit - reserve)
        self.max_connections = min(self.max_connections, allowed)
        await self._listen()

    async def _listen(self) -> None:
        if self._socket is None:
            return
        # Listening on a copy: when it is closed, new connections wait in the original's queue.
        self._listener = await asyncio.get_running_loop().create_server(
            self._make_protocol,
            sock=self._socket.dup(),
            ssl=self._config.ssl,
            ssl_handshake_timeout=_HANDSHAKE_TIME if self._config.ssl else None,
            backlog=_BACKLOG,
        )

    def _make_protocol(self) -> LanProtocol:
        return LanProtocol(
            self._config,
            self._state,
            asyncio.get_running_loop(),
            self._on_made,
            self._on_lost,
            lambda: not self.accepting,
        )

    def _on_made(self) -> None:
        """Count a connection; one whose TLS handshake fails is never made, nor lost."""
        loop = asyncio.get_running_loop()
        self._open += 1
        self._empty.clear()
        if self._open == self.max_connections:
            loop.call_soon(self._pause)  # uvloop does not allow it inside of an accept
        if self._sweeper is None:
            self._sweeper = loop.call_later(_SWEEP, self._sweep)

    def _pause(self) -> None:
        """Stop accepting until a connection ends; what is idle has to go first."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for connection in list(self._state.connections):
            if isinstance(connection, LanProtocol) and connection.idle:
                connection.transport.close()

    def _on_lost(self) -> None:
        self._open -= 1
        if not self._open:
            self._empty.set()
        paused = self._listener is None and self._socket is not None
        if paused and self._open < self.max_connections and self._resuming is None:
            self._resuming = asyncio.get_running_loop().create_task(self._resume())

    async def _resume(self) -> None:
        try:
            await self._listen()
        finally:
            self._resuming = None

    def _sweep(self) -> None:
        """End connections that wait for their client for too long."""
        patience = _PATIENCE_WHEN_CROWDED if not self.accepting else _PATIENCE
        for connection in list(self._state.connections):
            if not isinstance(connection, LanProtocol):
                continue
            waits = connection.owes and not connection.takes_its_answer()
            connection.stuck = connection.stuck + 1 if waits else 0
            if connection.stuck > patience:
                log_event(logger, "connection.dropped", logging.DEBUG, client=connection.client)
                connection.transport.abort()
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(_SWEEP, self._sweep) if self._open else None

    async def close(self) -> None:
        """Accept nothing new; may be called twice."""
        if self._resuming is not None:
            await cancel(self._resuming)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def stop(self, grace: float) -> None:
        """Close all connections, those with a request in work after at most `grace` seconds."""
        await self.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._open:
            try:
                async with asyncio.timeout(grace):
                    await self._empty.wait()
            except TimeoutError:
                for connection in list(self._state.connections):
                    connection.transport.abort()
        await cancel(*self._state.tasks)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


def raise_file_limit() -> int:
    """Raise the soft limit of open files to a sensible number; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
