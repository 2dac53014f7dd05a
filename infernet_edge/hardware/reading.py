"""Blocking looks at the machine, kept away from the event loop."""

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
    or fails, callers get the last value (`otherwise`, before there is one); a late value counts
    from when it is there. Never more than one thread per Reading, and it is a daemon: one that
    hangs for good does not keep the process from ending.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Value],
        otherwise: Value,
        *,
        keep: float = math.inf,
        timeout: float,
    ) -> None:
        self._name = name
        self._read = read
        self._value = otherwise
        self._keep = keep
        self._timeout = timeout
        self._under_way: Future[None] | None = None
        self._started = 0.0
        self._stale_at = 0.0
        self._logged = ""

    async def get(self) -> Value:
        """The value, read now if it is older than `keep`."""
        future = self._under_way
        if future is None or (future.done() and monotonic() >= self._stale_at):
            future = self._begin()
        remaining = self._started + self._timeout - monotonic()
        if not future.done() and remaining > 0:
            try:
                await asyncio.wait_for(asyncio.wrap_future(future), remaining)
            except TimeoutError:
                log_event(
                    logger,
                    "hardware.slow",
                    logging.WARNING,
                    what=self._name,
                    waited=self._timeout,
                )
        return self._value

    def _begin(self) -> Future[None]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        self._under_way, self._started = future, monotonic()
        name = f"hardware-{self._name}"
        threading.Thread(target=self._run, args=(future,), name=name, daemon=True).start()
        return future

    def _run(self, future: Future[None]) -> None:
        try:
            self._value = self._read()
            self._logged = ""
        except Exception as error:  # noqa: BLE001 - whatever a library raises, the node does without
            self._log_once(f"{type(error).__name__}: {error}")
        finally:
            self._stale_at = monotonic() + self._keep
            future.set_result(None)

    def _log_once(self, error: str) -> None:
        """What cannot be read is read again for each request, and mostly fails in the same way."""
        if error != self._logged:
            self._logged = error
            log_event(logger, "hardware.unreadable", logging.WARNING, what=self._name, error=error)
