"""The slots of a container, and the first-come, first-served queue for them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from infernet_edge.invariants import invariant

T = TypeVar("T")


class SlotQueue(Generic[T]):
    """A queue for one container with a number of `slots`, each for one call at a time.

    It holds two kinds in one order: entries, which a worker with a slot takes with `next()`, and
    direct calls, which have a slot of their own from `acquire()` to `next()`.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.free = slots
        self._waiting: deque[T | asyncio.Future[None]] = deque()

    def put(self, entry: T) -> bool:
        """Add an entry; True when it took a free slot, for which the caller must start a worker.

        The worker must call `next()` until that returns None.
        """
        self._waiting.append(entry)
        if not self.free:
            return False
        self.free -= 1
        return True

    def next(self) -> T | None:
        """The next entry, for the owner of a slot; None when the slot was released or passed on."""
        while self._waiting:
            first = self._waiting.popleft()
            if not isinstance(first, asyncio.Future):
                return first
            if not first.done():  # a direct call that was cancelled is skipped
                first.set_result(None)  # the slot is passed on without becoming free
                return None
        invariant(self.free < self._slots, "a slot was released that was not taken")
        self.free += 1
        return None

    def acquire(self) -> asyncio.Future[None]:
        """Request a slot for a direct call: the future is done when the call has one.

        The caller must then call `next()` at the end, and start a worker for the entry that it
        returns. A future that is cancelled before it is done needs no `next()`.
        """
        acquired = asyncio.get_running_loop().create_future()
        if self.free:
            self.free -= 1
            acquired.set_result(None)
        else:
            self._waiting.append(acquired)
        return acquired

    def clear(self) -> None:
        """Drop all entries, and cancel all direct calls that still wait."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if isinstance(waiting, asyncio.Future):
                waiting.cancel()
