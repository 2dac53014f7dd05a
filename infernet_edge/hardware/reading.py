"""Blocking reads of the machine's hardware, kept off the event loop."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Generic, TypeVar

from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


class Reading(Generic[Value]):
    """One value that is read in a thread and kept for `keep` seconds.

    `get()` waits at most `timeout` seconds from the start of a read. When the read takes longer,
    or fails, callers get the last value (`fallback` before the first one); a late value is used
    from when it arrives. A Reading has at most one thread, which is a daemon: one that hangs
    permanently does not keep the process from ending.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Value],
        fallback: Value,
        *,
        keep: float = math.inf,
        timeout: float,
    ) -> None:
        self._name = name
        self._read = read
        self._value = fallback
        self._keep = keep
        self._timeout = timeout
        self._pending: Future[None] | None = None
        self._started = 0.0
        self._stale_at = 0.0
        self._logged = ""

    async def get(self) -> Value:
        """The value, read now if it is older than `keep`."""
        future = self._pending
        if future is None or (future.done() and monotonic() >= self._stale_at):
            future = self._begin()
        remaining = self._started + self._timeout - monotonic()
        if not future.done() and remaining > 0:
            try:
                await asyncio.wait_for(asyncio.wrap_future(future), remaining)
            except TimeoutError:
                log_event(
                    logger,
                    "hardware.read_timed_out",
                    logging.WARNING,
                    reading=self._name,
                    timeout_seconds=self._timeout,
                )
        return self._value

    def _begin(self) -> Future[None]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        self._pending, self._started = future, monotonic()
        name = f"hardware-{self._name}"
        threading.Thread(target=self._run, args=(future,), name=name, daemon=True).start()
        return future

    def _run(self, future: Future[None]) -> None:
        try:
            self._value = self._read()
            self._logged = ""
        except Exception as error:  # noqa: BLE001 - a library may raise anything; the node continues
            self._log_once(f"{type(error).__name__}: {error}")
        finally:
            self._stale_at = monotonic() + self._keep
            future.set_result(None)

    def _log_once(self, error: str) -> None:
        """Log an error once: a failing read is repeated for each request, with the same error."""
        if error != self._logged:
            self._logged = error
            log_event(
                logger, "hardware.read_failed", logging.WARNING, reading=self._name, error=error
            )
