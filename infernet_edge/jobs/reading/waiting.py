"""Requests that wait for the end of jobs.

A waiting request costs one future, however many jobs it asks for: it is registered at one of them
at a time, and moves to the next one when that job ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from infernet_edge.errors import Unavailable

MAX_WAITERS: Final = 512
"""Requests that may wait at the same time, and at most half of the connections; others get 503."""

Name = bytes | str
"""The key of a job of the node, or the id of an external job."""


class Waiter:
    """One waiting request; `ended` is done when all its jobs have ended, or the node stops."""

    __slots__ = ("_left", "at", "ended")

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.at: Name | None = None  # the job at which it is registered
        self._left: Iterator[Name] = iter(())

    def start(self, names: Iterable[Name]) -> None:
        """Set the jobs to wait for."""
        self._left = iter(names)

    def next(self, is_unfinished: Callable[[Name], bool]) -> Name | None:
        """The next of its jobs that has not ended; None when there is none."""
        self.at = next(filter(is_unfinished, self._left), None)
        return self.at


class Waiters:
    """All waiting requests, by the job at which each is registered."""

    def __init__(self, is_unfinished: Callable[[Name], bool]) -> None:
        """`is_unfinished` must no longer hold for a job when `note_end` is called for it."""
        self._is_unfinished = is_unfinished
        self._at: dict[Name, set[Waiter]] = {}
        self._is_closed = False
        self.count = 0
        self.limit = MAX_WAITERS

    @property
    def registered(self) -> int:
        """How many jobs have waiters."""
        return len(self._at)

    @contextmanager
    def admitted(self, *, always: bool = False) -> Iterator[Waiter]:
        """A waiter for the duration of the block; raises Unavailable beyond the limit.

        `always`: also beyond it, for a short wait.
        """
        if not always and self.count >= self.limit:
            raise Unavailable(
                "Too many requests wait for jobs", {"limit": self.limit}, retry_after=1
            )
        waiter = Waiter()
        self.count += 1
        try:
            yield waiter
        finally:
            self.count -= 1
            self._leave(waiter)
            waiter.ended.cancel()

    def wait(self, waiter: Waiter, names: Iterable[Name]) -> None:
        """Let a waiter wait for the end of all these jobs."""
        waiter.start(names)
        self._advance(waiter)

    def note_end(self, name: Name) -> None:
        """Notify the waiters of a job that has ended."""
        if not self._at:
            return
        for waiter in self._at.pop(name, ()):
            self._advance(waiter)

    def close(self) -> None:
        """End all waits, and those to come: the node stops."""
        self._is_closed = True
        for waiters in list(self._at.values()):
            for waiter in list(waiters):
                self._advance(waiter)

    def _advance(self, waiter: Waiter) -> None:
        self._leave(waiter)
        name = None if self._is_closed else waiter.next(self._is_unfinished)
        if name is not None:
            self._at.setdefault(name, set()).add(waiter)
        elif not waiter.ended.done():
            waiter.ended.set_result(None)

    def _leave(self, waiter: Waiter) -> None:
        if waiter.at is None:
            return
        waiters = self._at.get(waiter.at)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._at[waiter.at]
        waiter.at = None
