"""Connections of the command line to a node, each of whose steps has a time limit."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, cast

from infernet_edge.cli.remote.address import NodeAddress, WrongUsage
from infernet_edge.config.proxies import Proxy, UnusableProxy, proxy_of

_CONNECT_SECONDS: Final = 10.0  # for names, connections and TLS together
_MAX_ADDRESSES: Final = 8  # of a name
_MAX_PROXY_HEAD: Final = 64 * 2**10  # bytes
_LOCAL_NAMES: Final = (".local", ".lan", ".home", ".internal", ".home.arpa")

Found = tuple[int, int, int, str, Any]
"""An element of what socket.getaddrinfo returns."""


class TimedSocket:
    """What http.client needs of a socket, with a limit for each wait and one for all of them.

    `idle` is the longest wait for bytes in seconds; `deadline`, a monotonic time, ends everything,
    also when bytes keep coming; None for no such end. Raises TimeoutError.
    """

    def __init__(self, connection: socket.socket, idle: float, deadline: float | None) -> None:
        self._connection = connection
        self.idle = idle
        self.deadline = deadline

    def sendall(self, data: bytes) -> None:
        """Send all of the data."""
        self._limit()
        self._connection.sendall(data)

    def receive_into(self, buffer: memoryview) -> int:
        """Read what is there, or wait for it; returns the number of bytes, 0 at the end."""
        self._limit()
        return self._connection.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A file that reads from the socket."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Leave the connection open: it is closed after the answer was read, by `connected`."""

    def _limit(self) -> None:
        left = self.idle
        if self.deadline is not None:
            left = min(left, self.deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)


class _Reader(io.RawIOBase):
    def __init__(self, timed: TimedSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.receive_into(buffer)


@contextlib.contextmanager
def connected(address: NodeAddress) -> Iterator[tuple[socket.socket, Proxy | None]]:
    """A connection to a node, closed at the end; and the proxy that plain requests are made to.

    Raises OSError, UnicodeError for a host that cannot be a name, and UnusableProxy.
    """
    with contextlib.ExitStack() as stack:
        if address.socket is not None:
            yield stack.enter_context(_unix(address.socket)), None
            return
        deadline = time.monotonic() + _CONNECT_SECONDS
        proxy = _proxy(address)
        if proxy is not None:
            host, _, port = proxy.name.rpartition(":")
            connection = stack.enter_context(_tcp(host.strip("[]"), int(port), deadline))
        else:
            connection = stack.enter_context(_tcp(address.host, address.port, deadline))
        if address.secure:
            if proxy is not None:
                _open_tunnel(connection, address, proxy, deadline)
                proxy = None
            connection.settimeout(_left(deadline))
            context = _trust(address.authority)
            name = address.host.partition("%")[0]
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=name))
        yield connection, proxy


def _unix(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _tcp(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to the first address of a host that answers."""
    found = _resolved(host, port, _left(deadline))[:_MAX_ADDRESSES]
    for number, (family, kind, protocol, _, target) in enumerate(found, 1):
        connection = socket.socket(family, kind, protocol)
        try:
            # An address that does not answer leaves time for the others.
            connection.settimeout(_left(deadline) / (len(found) - number + 1))
            connection.connect(target)
            _keep_alive(connection)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError) or number == len(found):
                raise
        else:
            return connection
    raise socket.gaierror("no address")


def _keep_alive(connection: socket.socket) -> None:
    """Detect within a minute that the other machine is gone, also where no data is due."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _resolved(host: str, port: int, seconds: float) -> Sequence[Found]:
    """The addresses of a host; raises socket.gaierror, UnicodeError, or TimeoutError."""
    answers: queue.SimpleQueue[Sequence[Found] | Exception] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    # The system's resolver has no limit that could be set: a thread that is left behind ends late.
    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "the name was not resolved in time") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _proxy(address: NodeAddress) -> Proxy | None:
    """The proxy of the environment; None for an address of this network."""
    host = address.host
    if _is_local(host):
        return None
    proxy = proxy_of(f"{address.scheme}://{address.authority_form}", os.environ)
    if proxy is None:
        return None
    with contextlib.suppress(OSError):  # unknown here: the proxy may know it
        found = _resolved(host, address.port, _CONNECT_SECONDS / 4)
        if found and all(_is_local(str(each[4][0])) for each in found):
            return None
    if proxy.url.startswith("https:"):
        raise UnusableProxy(
            f"{proxy.variable}: the command line uses only proxies at http://, found one at"
            " https://. Where the node needs no proxy, add it to NO_PROXY"
        )
    return proxy


def _is_local(host: str) -> bool:
    """Whether a host is in this network, by its form: RFC 1918, 4193, 6762, 8375."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host.rstrip(".") or host.rstrip(".").endswith(_LOCAL_NAMES)
    return address.is_private or address.is_link_local or address.is_loopback


def _open_tunnel(
    connection: socket.socket, address: NodeAddress, proxy: Proxy, deadline: float
) -> None:
    """Ask a proxy for a connection to the node, RFC 9110, 9.3.6; raises OSError."""
    host = f"[{address.host}]" if ":" in address.host else address.host.encode("idna").decode()
    target = f"{host}:{address.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    timed = TimedSocket(connection, _CONNECT_SECONDS, deadline)
    timed.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    byte = memoryview(bytearray(1))  # no more than the head: what follows belongs to TLS
    while not head.endswith(b"\r\n\r\n"):
        if len(head) >= _MAX_PROXY_HEAD or not timed.receive_into(byte):
            raise OSError(f"the proxy {proxy.name} ({proxy.variable}) does not answer as one")
        head += byte
    if not re.match(rb"HTTP/1\.[01] 2\d\d\b", head):
        status = head[:80].partition(b"\r\n")[0].decode("latin-1").partition(" ")[2]
        raise OSError(f"the proxy {proxy.name} ({proxy.variable}) refuses the connection: {status}")


def _trust(authority: Path | None) -> ssl.SSLContext:
    """Whose certificates are accepted: those in a file, or those that the system trusts."""
    if authority is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=str(authority))
    # A certificate that the user has named is trusted, also when it is not that of an authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def check_authority(file: Path) -> None:
    """Raise WrongUsage when a file has no certificates to trust."""
    try:
        _trust(file)
    except (ssl.SSLError, ValueError):
        raise WrongUsage(f"--cacert {file}: expected a certificate in the form PEM") from None
    except OSError as error:
        raise WrongUsage(f"--cacert {file}: it cannot be read ({error.strerror})") from None


def as_socket(timed: TimedSocket) -> socket.socket:
    """The same object, for http.client, whose type says socket."""
    return cast(socket.socket, timed)
