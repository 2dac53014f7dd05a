"""The threads of the database: each has a connection, and runs its waiting requests together.

The event loop gathers requests and hands them over as one list when the thread is free: as soon as
an iteration of the loop brought no new one. So the thread commits, and wakes up, once for what
many clients sent, and one client alone does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from infernet_edge.errors import StorageError, TooLargeToStore
from infernet_edge.metrics.measurements import COMMIT_BOUNDS, WRITES_BOUNDS, Histogram
from infernet_edge.storage.damage import is_corrupt

MAX_PER_COMMIT: Final = 1000
_IDLE_TIME = 60.0  # seconds without a write until what was written is copied into the main file
_MAX_GATHERING = 0.004  # seconds from the first request, when each iteration brings new ones


class Commits:
    """The transactions of the writer: how many writes were in each, and how long it took."""

    def __init__(self) -> None:
        self.writes = Histogram(WRITES_BOUNDS)
        self.seconds = Histogram(COMMIT_BOUNDS)


class Request(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]
    alone: bool = False  # outside of any transaction, e.g. a pragma that must not be in one


class _Outcome(NamedTuple):
    future: asyncio.Future[Any]
    value: Any
    error: BaseException | None


class Thread(threading.Thread):
    """Runs requests of the event loop, those that wait together.

    Its attributes but `changes` belong to the event loop; the thread sees the batches only.
    """

    def __init__(
        self,
        name: str,
        connection: sqlite3.Connection,
        *,
        commits: Commits | None,
        on_damage: Callable[[str], None],
        on_problem: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`commits` counts transactions; None: it only reads, without any.

        Both others are called in the event loop, with a reason: `on_damage` when SQLite finds
        damage, `on_problem` when a checkpoint without a caller fails.
        """
        super().__init__(name=name, daemon=True)
        self._connection = connection
        self._commits = commits
        self._batches: queue.SimpleQueue[list[Request] | None] = queue.SimpleQueue()
        self._waiting: list[Request] = []
        self._is_free = True  # neither a batch is being run, nor requests are being gathered
        self._is_ending = False
        self._loop = asyncio.get_running_loop()
        self._on_damage = on_damage
        self._on_problem = on_problem
        self._behind = False  # the main file lacks what was committed
        self.changes = 0  # rows that were changed and committed

    def submit(self, request: Request) -> None:
        """Run a request with the others that wait."""
        self._waiting.append(request)
        if self._is_free:
            self._start_gathering()

    def end(self) -> None:
        """Let the thread end after the requests that wait now."""
        self._is_ending = True
        if self._is_free:
            self._hand_over()

    def _start_gathering(self) -> None:
        self._is_free = False
        deadline = self._loop.time() + _MAX_GATHERING
        self._loop.call_soon(self._gather, 0, deadline)

    def _gather(self, seen: int, deadline: float) -> None:
        """Hand over what waits, unless more came since there were `seen` requests.

        From one call to the next, each callback that was ready has run once.
        """
        count = len(self._waiting)
        if seen < count < MAX_PER_COMMIT and self._loop.time() < deadline:
            self._loop.call_soon(self._gather, count, deadline)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        batch = self._waiting[:MAX_PER_COMMIT]
        del self._waiting[:MAX_PER_COMMIT]
        self._is_free = False
        if batch:
            self._batches.put(batch)
        if self._is_ending and not self._waiting:
            self._batches.put(None)

    def _settle(self, outcomes: list[_Outcome]) -> None:
        """End a batch; what its callers submit next is in the following one."""
        for outcome in outcomes:
            _settle(*outcome)
        self._is_free = True
        if self._waiting:
            self._start_gathering()
        elif self._is_ending:
            self._hand_over()

    def run(self) -> None:
        while (batch := self._next()) is not None:
            self._loop.call_soon_threadsafe(self._settle, self._work(batch))
            del batch  # frees what was written: it may take long until the next request
        self._connection.close()

    def _next(self) -> list[Request] | None:
        """Wait for requests, with a checkpoint when there are none for a while.

        So the main file of an idle node has everything, and a copy of only that file loses nothing.
        There is no timer unless something was written since the last checkpoint.
        """
        while self._behind:
            try:
                return self._batches.get(timeout=_IDLE_TIME)
            except queue.Empty:
                self._checkpoint()
        return self._batches.get()

    def _checkpoint(self) -> None:
        """Copy into the main file what the WAL has, without waiting for readers.

        What a reader holds back is copied at the next try.
        """
        try:
            busy, written, copied = self._connection.execute(
                "PRAGMA wal_checkpoint(PASSIVE)"
            ).fetchone()
            self._behind = bool(busy) or copied < written
        except sqlite3.Error as error:
            self._behind = False  # the next write tries again
            report = self._on_damage if is_corrupt(error) else self._on_problem
            self._loop.call_soon_threadsafe(report, f"The database cannot be written: {error}")

    def _work(self, batch: list[Request]) -> list[_Outcome]:
        together = [request for request in batch if self._commits is not None and not request.alone]
        alone = [request for request in batch if self._commits is None or request.alone]
        outcomes = self._together(together) if together else []
        outcomes += self._each(alone)
        for outcome in outcomes:
            if outcome.error is not None:
                if is_corrupt(outcome.error):  # also when its caller was cancelled
                    self._loop.call_soon_threadsafe(self._on_damage, str(outcome.error))
                _forget_frames(outcome.error)
        return outcomes

    def _together(self, batch: list[Request]) -> list[_Outcome]:
        """One transaction for all; if it fails, one for each, so that only the faulty one fails.

        So a function may run twice."""
        try:
            before, begin = self._connection.total_changes, time.monotonic()
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [
                _Outcome(future, function(self._connection, *arguments), None)
                for function, arguments, future, _ in batch
            ]
            self._connection.execute("COMMIT")
            changes = self._connection.total_changes - before
            self.changes += changes
            self._behind = self._behind or changes > 0
            self._note_commit(len(batch), time.monotonic() - begin)
        except Exception as error:  # noqa: BLE001 - failures belong to the caller
            self._roll_back()
            if len(batch) == 1:
                return [_Outcome(batch[0].future, None, error)]
            return [outcome for request in batch for outcome in self._together([request])]
        return outcomes

    def _note_commit(self, writes: int, seconds: float) -> None:
        if self._commits is not None:
            self._commits.writes.observe(writes)
            self._commits.seconds.observe(seconds)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite may have rolled back by itself
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _each(self, batch: list[Request]) -> list[_Outcome]:
        outcomes = []
        for function, arguments, future, _ in batch:
            try:
                outcomes.append(_Outcome(future, function(self._connection, *arguments), None))
            except Exception as error:  # noqa: BLE001 - failures belong to the caller
                outcomes.append(_Outcome(future, None, error))
        return outcomes


def _forget_frames(error: BaseException) -> None:
    """Replace a traceback by its text: its frames would keep the data of the request in memory."""
    if not isinstance(error, sqlite3.Error):
        lines = traceback.format_tb(error.__traceback__)
        error.add_note("".join(["In the thread of the database:\n", *lines]))
    error.__traceback__ = None


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return  # its caller was cancelled; what was written stays written
    if error is None:
        future.set_result(value)
    elif _is_too_large(error):
        future.set_exception(TooLargeToStore(str(error)))
    elif isinstance(error, sqlite3.Error):
        failure = StorageError(f"The database cannot be used: {error}")
        failure.__cause__ = error
        future.set_exception(failure)
    else:
        future.set_exception(error)


def _is_too_large(error: BaseException) -> bool:
    """Whether a value is longer than SQLite allows; Python itself refuses those over 2 GiB."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code == sqlite3.SQLITE_TOOBIG or isinstance(error, sqlite3.DataError | OverflowError)
