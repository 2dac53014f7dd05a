"""Opens connections: resolves names, tries addresses, passes proxies, and verifies TLS."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from infernet_edge.http_client.connection import HttpConnection
from infernet_edge.http_client.errors import ConnectFailed
from infernet_edge.http_client.resolver import Resolver
from infernet_edge.http_client.tunnels import TunnelAnswer, connect_head
from infernet_edge.http_client.urls import Origin, Via

if TYPE_CHECKING:
    import socket

_NEXT_ADDRESS = 0.25  # seconds until the next address of a name is tried as well (RFC 8305, 8)

Made = TypeVar("Made", bound=asyncio.Protocol)


class Connector:
    """Opens a connection to a server for each call of `connect`."""

    def __init__(
        self,
        make_connection: Callable[[Origin], HttpConnection],
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        """`context` is called for the first server with TLS."""
        self._make_connection = make_connection
        self._context = context
        self._resolver = Resolver()

    async def connect(self, origin: Origin, timeout: float) -> HttpConnection:
        """A new connection, within `timeout` seconds. Raises HttpError."""
        connection = self._make_connection(origin)
        try:
            async with asyncio.timeout(timeout):
                if origin.proxy is None:
                    await self._open(origin, lambda: connection)
                else:
                    await self._through_proxy(origin, origin.proxy, connection)
        except BaseException as error:
            connection.abort()  # asyncio completes a handshake of TLS that has just begun
            if not isinstance(error, OSError):
                raise
            resolved = origin.proxy or origin
            self._resolver.forget(resolved.host, resolved.port)
            raise ConnectFailed(_numbered(error)) from None
        return connection

    async def close(self) -> None:
        """Stop resolving."""
        await self._resolver.close()

    async def _through_proxy(self, origin: Origin, via: Via, connection: HttpConnection) -> None:
        loop, proxy = asyncio.get_running_loop(), Origin(via.host, via.port, via.is_tls)
        try:
            if not origin.is_tls:
                await self._open(proxy, lambda: connection)
                return
            transport, answer = await self._open(proxy, lambda: TunnelAnswer(loop))
        except OSError as error:
            self._resolver.forget(via.host, via.port)
            raise ConnectFailed(_numbered(error), of_proxy=True) from error
        try:
            transport.write(connect_head(origin))
            await answer.wait()
            tunnel = await loop.start_tls(
                transport, connection, self._context(), server_hostname=_certified(origin.host)
            )
            if tunnel is None:
                raise ConnectionResetError
        except BaseException:
            transport.abort()
            raise
        connection.connection_made(tunnel)

    async def _open(
        self, origin: Origin, made: Callable[[], Made]
    ) -> tuple[asyncio.Transport, Made]:
        """Connect to a host and port, or to a Unix socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        if origin.socket_path:
            return await loop.create_unix_connection(made, origin.socket_path)
        context = self._context() if origin.is_tls else None
        name = _certified(origin.host) if origin.is_tls else None
        if _is_address(origin.host):
            return await loop.create_connection(
                made, origin.host, origin.port, ssl=context, server_hostname=name
            )
        opened = await self._open_socket(origin)
        # From here on the socket is the transport's, which closes it in any case.
        return await loop.create_connection(made, sock=opened, ssl=context, server_hostname=name)

    async def _open_socket(self, origin: Origin) -> socket.socket:
        """A socket that is connected to the address of a name that answers first."""
        from aiohappyeyeballs import start_connection

        addresses = await self._resolver.resolve(origin.host, origin.port)
        return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS)


def _numbered(error: OSError) -> OSError:
    """The error with its number, by which its text is found.

    Event loops raise some without: after a time limit, and when the server closes the connection in
    the handshake of TLS.
    """
    if error.errno or not isinstance(error, TimeoutError | ConnectionError):
        return error
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else errno.ECONNRESET
    return OSError(number, os.strerror(number))


def _certified(host: str) -> str:
    """A host as in certificates: without the dot at the end of a name, the zone of an address."""
    return host.rstrip(".").partition("%")[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
