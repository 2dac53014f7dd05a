"""Values that take a moment to read, kept for some time; a caller waits for a moment only."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from infernet_edge.logs import log_exception
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """A value that is read when it is wanted, at most once in `seconds`.

    `get` waits `patience` seconds at most; then, and when a read fails, it gives the last value.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[Value]],
        first: Value,
        *,
        seconds: float,
        patience: float = 1.0,
    ) -> None:
        """`first` is the value until one was read; `name` is for the log."""
        self._name = name
        self._read = read
        self.value = first
        self._seconds = seconds
        self._patience = patience
        self._stale_at = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> Value:
        """The value, read now if it is too old."""
        if self._reading is None and time.monotonic() >= self._stale_at:
            self._reading = asyncio.create_task(self._refresh(), name=f"reading {self._name}")
        if self._reading is not None:
            await asyncio.wait((self._reading,), timeout=self._patience)
        return self.value

    async def _refresh(self) -> None:
        try:
            self.value = await self._read()
        except Exception as error:  # noqa: BLE001 - the other parts are shown nevertheless
            log_exception(logger, "overview.read_failed", error, part=self._name)
        finally:
            self._stale_at = time.monotonic() + self._seconds
            self._reading = None

    async def close(self) -> None:
        """Stop a read that is in progress."""
        if self._reading is not None:
            await cancel(self._reading)
