"""Background tasks: each is held by what started it, and cancelled and awaited at shutdown.

Work that never ends by itself is started with `Background.supervise`. An unexpected exception in it
is logged with its traceback, and the work is restarted; while it does not run, the node reports a
problem and is unhealthy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from infernet_edge.backoff import Backoff

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
STABLE_SECONDS: Final = 10.0
"""Work that was restarted counts as running when it has run for so long."""


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended; what they raise is ignored."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Background:
    """The perpetual tasks of a node."""

    def __init__(
        self,
        first_pause: float = FIRST_PAUSE_SECONDS,
        max_pause: float = MAX_PAUSE_SECONDS,
        stable: float = STABLE_SECONDS,
    ) -> None:
        """All times are in seconds."""
        self._first_pause, self._max_pause, self._stable = first_pause, max_pause, stable
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, str] = {}

    @property
    def problems(self) -> list[str]:
        """A text for each task that fails again and again, with its last reason."""
        return [
            f"The background task {name!r} fails and is restarted ({reason}); see the log"
            for name, reason in self._failing.items()
        ]

    def supervise(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work()` until `stop`; when it fails or returns, run it again after a pause.

        `name` appears in the log and in `status`; it is unique.
        """
        if name in self._tasks:
            raise ValueError(f"there is a background task {name!r} already")
        self._tasks[name] = asyncio.create_task(self._keep_running(name, work), name=name)

    async def stop(self, *names: str) -> None:
        """Cancel these tasks, or all of them, and wait until they have ended."""
        chosen = names or tuple(self._tasks)
        await cancel(*(self._tasks.pop(name) for name in chosen if name in self._tasks))
        for name in chosen:
            self._failing.pop(name, None)

    async def _keep_running(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        pauses = Backoff(self._first_pause, self._max_pause)
        while True:
            started = loop.time()
            # After a failure the problem stays until the work has shown that it runs.
            recovery = loop.call_later(self._stable, self._failing.pop, name, None)
            try:
                await work()
                reason = "it returned"
                logger.error("task.returned", extra={"fields": {"task": name}})
            except asyncio.CancelledError:
                # One that an inner task raised is a defect like any other.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                reason = "an inner task was cancelled"
                logger.exception("task.failed", extra={"fields": {"task": name}})
            except Exception as error:  # any defect in it must not end it for ever
                reason = f"{type(error).__name__}: {error}"
                logger.exception("task.failed", extra={"fields": {"task": name}})
            finally:
                recovery.cancel()
            if loop.time() - started >= self._stable:
                pauses.reset()
            self._failing[name] = reason
            await asyncio.sleep(pauses.next())


class Deadline:
    """Until when several waits for one answerer may take; moves on whenever it has answered.

    So a silent one costs `seconds` once, and one that answers is given the time that it needs.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.until = 0.0  # loop time
        self.extend()

    def extend(self) -> None:
        """Count from now: there was an answer."""
        self.until = asyncio.get_running_loop().time() + self._seconds
