"""Opens connections: resolves names, tries addresses, and verifies TLS."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from infernet_edge.http_client.connection import HttpConnection
from infernet_edge.http_client.errors import ConnectFailed
from infernet_edge.http_client.resolver import Resolver
from infernet_edge.http_client.urls import Origin

if TYPE_CHECKING:
    import socket

_NEXT_ADDRESS = 0.25  # seconds until the next address of a name is tried as well (RFC 8305, 8)


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
        """A new connection, within `timeout` seconds. Raises ConnectFailed."""
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(origin)
        except TimeoutError:
            raise ConnectFailed(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))) from None
        except OSError as error:
            self._resolver.forget(origin.host, origin.port)
            raise ConnectFailed(error) from error

    async def _connect(self, origin: Origin) -> HttpConnection:
        loop, made = asyncio.get_running_loop(), functools.partial(self._make_connection, origin)
        if origin.socket_path:
            _, connection = await loop.create_unix_connection(made, origin.socket_path)
            return connection
        context = self._context() if origin.is_tls else None
        name = origin.host if origin.is_tls else None
        if _is_address(origin.host):
            _, connection = await loop.create_connection(
                made, origin.host, origin.port, ssl=context, server_hostname=name
            )
            return connection
        opened = await self._open(origin)
        try:
            _, connection = await loop.create_connection(
                made, sock=opened, ssl=context, server_hostname=name
            )
        except BaseException:
            opened.close()
            raise
        return connection

    async def _open(self, origin: Origin) -> socket.socket:
        """A socket that is connected to the address of a name that answers first."""
        from aiohappyeyeballs import start_connection

        addresses = await self._resolver.resolve(origin.host, origin.port)
        return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
