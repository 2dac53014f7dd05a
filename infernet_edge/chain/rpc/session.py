"""The HTTP session of the JSON-RPC client: aiohttp, which knows proxies."""

from __future__ import annotations

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from infernet_edge.http_client.authorities import client_context
from infernet_edge.http_client.resolver import Resolver

_KEEP_ALIVE = 1.5  # seconds for which an idle connection is kept


def make_session() -> aiohttp.ClientSession:
    """Create a session; who uses it limits the number of its connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_KEEP_ALIVE,
            use_dns_cache=False,  # the resolver keeps addresses
            resolver=_HostResolver(),
            ssl=client_context(),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        headers={"Content-Type": "application/json"},
    )


class _HostResolver(AbstractResolver):
    """The node's resolver as aiohttp calls it."""

    def __init__(self) -> None:
        self._resolver = Resolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError when there are none."""
        return [
            ResolveResult(
                hostname=host,
                host=_text(address),
                port=port,
                family=each_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for each_family, _, protocol, _, address in await self._resolver.resolve(host, port)
            if family in (socket.AF_UNSPEC, each_family)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _text(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """An address; one of IPv6 that is valid in one network only names its device."""
    if len(address) == 4 and address[3]:
        return f"{address[0]}%{socket.if_indextoname(address[3])}"
    return address[0]
