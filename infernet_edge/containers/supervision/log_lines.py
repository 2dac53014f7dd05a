"""The last line of a container's log, for the failures of its jobs."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from infernet_edge.containers.answers.pages import one_line
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.service import Service
from infernet_edge.errors import EngineError

_READ_TIMEOUT = 5.0  # seconds for Podman; the failure is reported without the line otherwise
_READ_PERIOD = 5.0  # seconds between two reads of a log: each starts Podman's API for a while


class LogReader(Protocol):
    """Reads the logs of managed containers."""

    async def last_log_line(self, service: Service) -> str:
        """The last line of the container's log; "" when there is none, or it is not managed."""


class NoLogs:
    """For services whose logs the node cannot read."""

    async def last_log_line(self, service: Service) -> str:
        return ""


class LastLine:
    """The last line of the log of one service's containers, read at most once per period."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reading = asyncio.Lock()
        self._line = ""
        self._container_id = ""
        self._read_at = 0.0

    async def of(self, container_id: str) -> str:
        """The last line of this container's log; "" when it has none, or Podman does not answer."""
        async with self._reading:  # failures at the same time share one read
            now = time.monotonic()
            if container_id != self._container_id or now >= self._read_at + _READ_PERIOD:
                self._line = await self._read(container_id)
                self._container_id, self._read_at = container_id, time.monotonic()
            return self._line

    async def _read(self, container_id: str) -> str:
        engine = self._connection.engine
        if engine is None or not container_id:
            return ""
        try:
            text = await self._connection.run(_READ_TIMEOUT, engine.logs, container_id)
        except EngineError:
            return ""
        lines = [line for line in map(one_line, text.splitlines()) if line]
        return lines[-1] if lines else ""
