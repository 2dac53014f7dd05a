"""Background tasks: each is referenced by what started it, and cancelled and awaited at shutdown.

Work that runs until shutdown is started with `Background.supervise`. An unexpected exception in it
is logged with its traceback, and the work is restarted; while it does not run, the node reports a
problem and is unhealthy.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

from infernet_edge.backoff import Backoff
from infernet_edge.logs import log_event, log_exception

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
STABLE_SECONDS: Final = 10.0
"""Work that was restarted counts as running after this time."""


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended; what they raise is ignored."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TaskSet:
    """Tasks that end by themselves. What one of them raises goes to `on_error`, to be logged."""

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it until it ends, or until `stop`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def wait(self, timeout: float) -> None:
        """Wait until those that run now have ended, at most `timeout` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def stop(self) -> None:
        """Cancel them all, and wait until they have ended."""
        await cancel(*self._tasks)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)


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
        """A text for each task that keeps failing, with its last reason."""
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
            # After a failure the problem is reported until the work has run long enough.
            recovery = loop.call_later(self._stable, self._failing.pop, name, None)
            try:
                await work()
                reason = "it returned"
                log_event(logger, "task.returned", logging.ERROR, task=name)
            except asyncio.CancelledError as error:
                # One that an inner task raised is a defect like any other.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                reason = "an inner task was cancelled"
                log_exception(logger, "task.failed", error, task=name)
            except Exception as error:  # noqa: BLE001 - no defect may end the work permanently
                reason = f"{type(error).__name__}: {error}"
                log_exception(logger, "task.failed", error, task=name)
            finally:
                recovery.cancel()
            if loop.time() - started >= self._stable:
                pauses.reset()
            self._failing[name] = reason
            await asyncio.sleep(pauses.next())


class BlockingReads:
    """Runs functions that block, such as reads of files, one at a time and with a time limit.

    Each runs in a daemon thread, so that one that hangs, as on a disk that does not answer, does
    not keep the process from ending. There is at most one such thread.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` limit each call of `run`, with its wait for those before."""
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._last: asyncio.Future[None] | None = None  # done when the thread has ended

    async def run(self, read: Callable[[], Value]) -> Value:
        """What `read` returns or raises; raises TimeoutError when that takes too long."""
        async with asyncio.timeout(self._seconds), self._turn:
            if self._last is not None:
                await asyncio.wait({self._last})
            loop = asyncio.get_running_loop()
            ended = self._last = loop.create_future()
            outcome: concurrent.futures.Future[Value] = concurrent.futures.Future()

            def work() -> None:
                try:
                    outcome.set_result(read())
                except BaseException as error:  # noqa: BLE001 - raised again in the caller
                    outcome.set_exception(error)
                with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
                    loop.call_soon_threadsafe(ended.set_result, None)

            threading.Thread(target=work, name="blocking read", daemon=True).start()
            await asyncio.wait({ended})
            return outcome.result()


class Deadline:
    """The common deadline of several requests to one server; extended with each of its answers.

    So a server that does not answer delays all of them by `seconds` in total, and one that answers
    gets the time that it needs.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limits: set[asyncio.Timeout] = set()
        self.until = 0.0  # loop time
        self.extend()

    def extend(self) -> None:
        """Count from now, also for requests that wait already: there was an answer."""
        self.until = asyncio.get_running_loop().time() + self._seconds
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(self.until)

    @contextlib.asynccontextmanager
    async def limiting(self) -> AsyncIterator[None]:
        """Raise TimeoutError when the deadline passes within the block."""
        async with asyncio.timeout_at(self.until) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)
