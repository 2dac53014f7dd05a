"""When a container is started again: pauses that grow, and crashes in a row."""

from __future__ import annotations

import asyncio
import contextlib

from infernet_edge.backoff import Backoff
from infernet_edge.clock import milliseconds
from infernet_edge.containers.timing import Timing


class Restarts:
    """Pauses between the starts of one container, which an operator's restart ends.

    `requested`: an operator, or a changed configuration, requires a new container. `next_start` is
    the end of the present pause, in milliseconds since 1970.
    """

    def __init__(self, timing: Timing) -> None:
        self.crashes = 0  # quick ones in a row
        self.requested = False
        self.next_start: int | None = None
        self.last_stop = ""  # why it stopped last, until it is ready
        self._timing = timing
        self._after_stop = Backoff(timing.restart, timing.restart_limit)
        self._after_failure = Backoff(timing.retry, timing.retry_limit)
        self._wake = asyncio.Event()

    @property
    def in_loop(self) -> bool:
        """Whether it crashed so often that its jobs do not wait for it any more."""
        return self.crashes >= self._timing.crash_cap

    def request(self) -> None:
        """Require a new container, now; earlier crashes do not count any more."""
        self.requested = True
        self.crashes = 0
        self._after_stop.reset()
        self._after_failure.reset()
        self._wake.set()

    def interrupt(self) -> None:
        """End the present pause: the container is not to run now."""
        self._wake.set()

    def forget(self) -> None:
        """Forget earlier crashes and failures: the container was not to run meanwhile."""
        self.request()
        self.requested, self.last_stop = False, ""
        self._wake.clear()

    def note_created(self) -> None:
        """A new container is being created: that is what was requested."""
        self.requested = False

    def note_started(self) -> None:
        """A container was started, or one that runs was adopted."""
        self._after_failure.reset()

    def after_failure(self) -> float:
        """The pause in seconds after a start that failed."""
        return self._after_failure.next()

    def after_stop(self, uptime: float) -> float:
        """The pause in seconds after a container stopped that ran for `uptime` seconds."""
        if uptime < self._timing.quick_crash:
            self.crashes += 1
        else:
            self.crashes = 1
            self._after_stop.reset()
        pause = self._after_stop.next()
        return self._timing.crash_loop if self.in_loop else pause

    async def pause(self, seconds: float) -> None:
        """Wait before the next start; a request ends the wait."""
        self.next_start = milliseconds() + round(seconds * 1000)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        finally:
            self.next_start = None
            self._wake.clear()
