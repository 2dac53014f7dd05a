"""Addresses of hosts; names by which containers address their machine may mean this one."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections import OrderedDict
from typing import Final, cast

from infernet_edge.config.host_names import LOOPBACK, OF_THIS_MACHINE, RESOLVING_TIME
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

MAX_KEPT_NAMES: Final = 64
"""Names whose addresses are kept."""

_KEPT_SECONDS = 60.0  # for which addresses are kept

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""As getaddrinfo returns it: family, type, protocol, canonical name, address."""

_Key = tuple[str, int]


class Resolver:
    """Resolves by the system; `host.docker.internal` is this machine where it is not known.

    A configuration that was made for a node in a container has such names.
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()
        self._kept: OrderedDict[_Key, tuple[float, list[AddressInfo]]] = OrderedDict()
        self._running: dict[_Key, asyncio.Task[list[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """The addresses of a host, at least one. Raises OSError when there are none.

        All that wait for the same host wait for one call: the system has few threads for them, and
        one that hangs cannot be cancelled.
        """
        loop, key = asyncio.get_running_loop(), (host, port)
        kept = self._kept.get(key)
        if kept is not None and loop.time() < kept[0]:
            return kept[1]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = loop.create_task(self._resolve(host, port))
            task.add_done_callback(functools.partial(self._keep, key))
        return await asyncio.shield(task)

    def forget(self, host: str, port: int) -> None:
        """Resolve a host again the next time, as none of its addresses could be reached."""
        self._kept.pop((host, port), None)

    async def close(self) -> None:
        """Wait for no call any more."""
        await cancel(*self._running.values())

    def _keep(self, key: _Key, task: asyncio.Task[list[AddressInfo]]) -> None:
        del self._running[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._kept[key] = task.get_loop().time() + _KEPT_SECONDS, task.result()
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT_NAMES:
            self._kept.popitem(last=False)

    async def _resolve(self, host: str, port: int) -> list[AddressInfo]:
        name = host.lower().rstrip(".")
        if name not in OF_THIS_MACHINE:
            return await _by_system(host, port)
        try:
            async with asyncio.timeout(RESOLVING_TIME):
                return await _by_system(host, port)
        except (OSError, TimeoutError):
            if name not in self._logged:
                self._logged.add(name)
                log_event(logger, "container.host_replaced", host=name, used=LOOPBACK)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOOPBACK, port))]


async def _by_system(host: str, port: int) -> list[AddressInfo]:
    loop = asyncio.get_running_loop()
    # Only addresses of those kinds that this machine has (AI_ADDRCONFIG).
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    return cast("list[AddressInfo]", found)
