"""The listening socket and its connections.

It uses uvicorn's HTTP protocol, but not its Server, which wakes ten times a second when idle, does
not limit connections by the open files of the process, and does not close slow clients.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from infernet_edge.api import plain_http
from infernet_edge.api.connections import Connections, Slot
from infernet_edge.api.protocol import LanProtocol
from infernet_edge.config.model import TLS, Server
from infernet_edge.config.path_checks import certificate_flaw
from infernet_edge.errors import StartupError
from infernet_edge.logs import log_event, log_exception
from infernet_edge.memory import MemoryBudget, unlimited
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024  # further ones wait in the kernel's queue until one of these ends
_BACKLOG = 2048
_ACCEPTED_AT_ONCE = 32  # connections, before other callbacks of the loop run
_ACCEPT_RETRY = 0.1  # seconds until accepting is retried, if no connection ends before
_KEEP_ALIVE = 20  # seconds for which an idle connection is kept
_HANDSHAKE_TIME = 10.0  # seconds for a TLS handshake
_SWEEP = 5.0  # seconds between two checks for stuck connections, while there are any
_STUCK_TIME = 20.0  # seconds without progress after which a connection is closed
_STUCK_TIME_WHEN_FULL = 5.0
_MIN_CONNECTIONS = 32
_LOG_PERIOD = 60.0  # seconds; failures to accept are logged once in this time
# Approximate bytes of memory of one connection without requests.
_PLAIN_SIZE = 64 * 2**10
_TLS_SIZE = 160 * 2**10


class LanServer:
    """Serves an ASGI application on one socket."""

    def __init__(
        self,
        settings: Server,
        app: ASGIApp,
        *,
        max_connections: int = MAX_CONNECTIONS,
        memory: MemoryBudget | None = None,
    ) -> None:
        self._settings = settings
        self._memory = memory or unlimited()
        self._config = _configuration(settings, app)
        # uvicorn reports errors of clients; those of the node are logged by the application.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._state = ServerState()
        self._socket: socket.socket | None = None
        self._most = max_connections
        self._connections = Connections(
            max_connections, settings.max_connections_per_client, settings.trusted_proxies
        )
        self._accepting = False
        self._accept_retry: asyncio.TimerHandle | None = None
        self._making: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._accept_failed_at = -_LOG_PERIOD

    @property
    def port(self) -> int:
        """The port of the socket, also when the configured one is 0 (any free one)."""
        return int(self._socket.getsockname()[1]) if self._socket else self._settings.port

    @property
    def bound(self) -> tuple[str, bool] | None:
        """The address of the socket, and whether it is an IPv6 one that accepts IPv4 too.

        None while there is no socket.
        """
        if self._socket is None:
            return None
        both = self._socket.family == socket.AF_INET6 and not self._socket.getsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        )
        return str(self._socket.getsockname()[0]), both

    @property
    def max_connections(self) -> int:
        """The maximum number of connections; `start` lowers it to what the machine allows."""
        return self._connections.limit

    @property
    def open_connections(self) -> int:
        """How many connections there are now, including unfinished TLS handshakes."""
        return self._connections.count

    @property
    def requests_in_work(self) -> int:
        """How many requests are being answered now."""
        return len(self._state.tasks)

    @property
    def accepting(self) -> bool:
        """Whether new connections are accepted; not while all clients wait for answers."""
        return self._accepting

    @property
    def sweeping(self) -> bool:
        """Whether the timer for stuck connections runs; not while there are no connections."""
        return self._sweeper is not None

    def bind(self) -> None:
        """Open the port, before anything starts that a busy one would stop; raises StartupError."""
        host, port = self._settings.host, self._settings.port
        _load(self._config, self._settings.tls)
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
            self._socket.setblocking(False)
            # Connections inherit it: the body of an answer does not wait for the client to
            # acknowledge the head.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except UnicodeError as error:  # of a name that the domain name system cannot have
            raise StartupError(
                f"Cannot listen on {host}: {error}. Use an address or a name of this machine."
            ) from error
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise StartupError(
                    f"Cannot listen on {host}: no address or name of this machine"
                    f" ({error.strerror or error}). Set server.host to one of them, to 0.0.0.0 for"
                    " all, or to 127.0.0.1 for this machine only."
                ) from error
            raise StartupError(
                f"Cannot listen on {host} port {port}: {error.strerror or error}. If another"
                " program uses the port, stop it or set server.port to another one"
                " (`ss -ltnp` lists the programs that listen)."
            ) from error

    async def prepare(self, settings: Server) -> Callable[[], None]:
        """Read the certificate and key of these settings; returns what puts them in force.

        That is for new connections. The socket and whether it uses TLS do not change. Raises
        StartupError when the files cannot be used.
        """
        # A new context: the present one would keep a certificate for each type of key.
        renewed = _configuration(settings, self._config.app)
        await asyncio.to_thread(_load, renewed, settings.tls)

        def apply() -> None:
            self._settings = settings
            self._config.ssl = renewed.ssl
            self._connections.apply(settings.max_connections_per_client, settings.trusted_proxies)

        return apply

    async def start(self, reserve: int) -> None:
        """Accept connections, leaving `reserve` file descriptors for the rest of the node."""
        self.reserve(reserve)
        self._resume()

    def reserve(self, files: int) -> None:
        """Leave so many file descriptors for the rest of the node from now on.

        Connections beyond the new maximum stay; no other is accepted until there are fewer.
        """
        usable = raise_file_limit() - files
        size = _TLS_SIZE if self._config.ssl else _PLAIN_SIZE
        allowed = max(_MIN_CONNECTIONS, min(usable, self._memory.limit // 2 // size))
        self._connections.limit = min(self._most, allowed)

    def _resume(self) -> None:
        """Accept connections."""
        if self._accept_retry is not None:
            self._accept_retry.cancel()
            self._accept_retry = None
        if self._socket is not None and not self._accepting:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _pause(self) -> None:
        """Leave new connections in the kernel's queue until one ends, or for a short time."""
        if self._socket is not None and self._accepting:
            loop = asyncio.get_running_loop()
            self._accepting = False
            loop.remove_reader(self._socket)
            self._accept_retry = loop.call_later(_ACCEPT_RETRY, self._resume)

    def _accept(self) -> None:
        """Accept connections from the kernel's queue, as long as there are slots for them."""
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            if self._socket is None or not self._connections.can_admit():
                self._pause()
                return
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                self._log_accept_failure(str(error))
                self._pause()
                return
            slot = self._connections.admit(address[0])
            if slot is None:
                connection.close()
                continue
            self._empty.clear()
            slot.making = loop.create_task(self._make(connection, slot))
            self._making.add(slot.making)
            slot.making.add_done_callback(functools.partial(self._on_made, connection, slot))
            if self._sweeper is None:
                self._sweeper = loop.call_later(_SWEEP, self._sweep)

    def _log_accept_failure(self, reason: str) -> None:
        """Log, at most once a minute, that accepting fails."""
        now = asyncio.get_running_loop().time()
        if now - self._accept_failed_at >= _LOG_PERIOD:
            self._accept_failed_at = now
            log_event(logger, "connection.accept_failed", logging.WARNING, reason=reason)

    async def _make(self, connection: socket.socket, slot: Slot) -> None:
        """Create the protocol of a socket; with TLS after a handshake."""
        loop = asyncio.get_running_loop()
        if self._config.ssl is not None:
            async with asyncio.timeout(_HANDSHAKE_TIME):
                is_plain = await plain_http.is_plain_http(connection)
            if is_plain:
                await plain_http.refuse(connection)
                raise ConnectionAbortedError("plain HTTP at the port of HTTPS")

        def protocol() -> LanProtocol:
            slot.protocol = LanProtocol(
                self._config,
                self._state,
                loop,
                self._memory,
                self._settings.min_body_bytes_per_second,
                lambda: self._release(slot),
                lambda: self._connections.is_full or self._socket is None,
                self._connections.close_blocked,
            )
            return slot.protocol

        await loop.connect_accepted_socket(
            protocol,
            connection,
            ssl=self._config.ssl,
            ssl_handshake_timeout=_HANDSHAKE_TIME if self._config.ssl else None,
        )

    def _on_made(self, connection: socket.socket, slot: Slot, making: asyncio.Task[None]) -> None:
        """Handle the end of `_make`: failed and cancelled connections are closed."""
        self._making.discard(making)
        slot.making = None
        error = None if making.cancelled() else making.exception()
        if error is not None and not isinstance(error, OSError | ssl.SSLError):
            log_exception(logger, "connection.crashed", error)
        if making.cancelled() or error is not None:
            log_event(logger, "connection.failed", logging.DEBUG, reason=str(error or "closed"))
            connection.close()
            self._release(slot)

    def _release(self, slot: Slot) -> None:
        self._connections.release(slot)
        if not self._connections.count:
            self._empty.set()
        self._resume()

    def _sweep(self) -> None:
        """Close connections without progress."""
        loop = asyncio.get_running_loop()
        stuck_time = _STUCK_TIME_WHEN_FULL if self._connections.is_full else _STUCK_TIME
        self._connections.close_stuck(loop.time() - stuck_time)
        more = self._connections.count
        self._sweeper = loop.call_later(_SWEEP, self._sweep) if more else None

    async def close(self) -> None:
        """Accept no new connections; may be called twice."""
        self._pause()
        if self._accept_retry is not None:
            self._accept_retry.cancel()
            self._accept_retry = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def stop(self, grace: float) -> None:
        """Close all connections; those with an unfinished request get up to `grace` seconds."""
        await self.close()
        await cancel(*self._making)
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._connections.count:
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
    """Raise the soft limit of open files as far as useful; returns the usable number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MAX_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _load(config: uvicorn.Config, tls: TLS | None) -> None:
    """Load what uvicorn needs; blocks. Raises StartupError when the certificate cannot be used."""
    flaw = certificate_flaw(tls.cert, tls.key) if tls is not None else ""
    if flaw:
        raise StartupError(f"server.tls cannot be used: {flaw}")
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise StartupError(f"server.tls cannot be used: {error}") from error


def _configuration(settings: Server, app: Any) -> uvicorn.Config:
    """What uvicorn's protocol needs; `load` reads the certificate."""
    tls = settings.tls
    return uvicorn.Config(
        app,
        interface="asgi3",
        http="httptools",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # api/access/admission.py decides which addresses are believed
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        ssl_certfile=tls.cert if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
