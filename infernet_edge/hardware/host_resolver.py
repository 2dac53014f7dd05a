"""Resolve names of hosts; those by which containers address their machine may mean this one."""

from __future__ import annotations

import asyncio
import logging
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from infernet_edge.config.host_names import LOOPBACK, OF_THIS_MACHINE, RESOLVING_TIME
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)


class HostResolver(AbstractResolver):
    """Resolves by the system; `host.docker.internal` is this machine where it is not known.

    A configuration that was made for a node in a container has such names.
    """

    def __init__(self) -> None:
        self._system = ThreadedResolver()
        self._logged: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError when there are none."""
        name = host.lower().rstrip(".")
        if name not in OF_THIS_MACHINE:
            return await self._system.resolve(host, port, family)
        try:
            async with asyncio.timeout(RESOLVING_TIME):
                return await self._system.resolve(host, port, family)
        except (OSError, TimeoutError):
            if name not in self._logged:
                self._logged.add(name)
                log_event(logger, "container.host_replaced", host=name, used=LOOPBACK)
        return [
            ResolveResult(
                hostname=host,
                host=LOOPBACK,
                port=port,
                family=socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        ]

    async def close(self) -> None:
        await self._system.close()
