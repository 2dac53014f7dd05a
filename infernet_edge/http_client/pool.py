"""Idle connections, which are kept for a short time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from infernet_edge.http_client.connection import HttpConnection
from infernet_edge.http_client.urls import Origin

KEEP_ALIVE: Final = 1.5
"""Seconds for which an idle connection is kept. Servers in containers close theirs after 2 s
(gunicorn) or 5 s (uvicorn, hypercorn): closing first avoids sending into a closing connection."""


class Pool:
    """The connections that another request may use; there are no more than were in use at once."""

    def __init__(self) -> None:
        self._idle: dict[Origin, deque[tuple[float, HttpConnection]]] = {}  # oldest first
        self._expiry: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take(self, origin: Origin) -> HttpConnection | None:
        """Remove the connection that was used last, if there is one that is open."""
        idle = self._idle.get(origin)
        if idle is None:
            return None
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE
        found = None
        while idle and found is None:
            since, connection = idle.pop()
            if connection.is_open and since > oldest:
                found = connection
            else:
                connection.abort()
        if not idle:
            del self._idle[origin]
        return found

    def keep(self, origin: Origin, connection: HttpConnection) -> None:
        """Keep a connection whose exchange is complete."""
        if self._is_closed:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        self._idle.setdefault(origin, deque()).append((loop.time(), connection))
        if self._expiry is None:
            self._expiry = loop.call_later(KEEP_ALIVE, self._close_expired)

    def close(self) -> None:
        """Close all, and those that would be kept from now on."""
        self._is_closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for idle in self._idle.values():
            for _, connection in idle:
                connection.abort()
        self._idle.clear()

    def _close_expired(self) -> None:
        loop, self._expiry = asyncio.get_running_loop(), None
        expired = loop.time() - KEEP_ALIVE
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0][0] <= expired or not idle[0][1].is_open):
                idle.popleft()[1].abort()
            if not idle:
                del self._idle[origin]
        if self._idle:
            first = min(idle[0][0] for idle in self._idle.values())
            self._expiry = loop.call_at(first + KEEP_ALIVE, self._close_expired)
