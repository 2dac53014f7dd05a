"""Who may use a container now: a first-come, first-served line with a few places for each."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class SlotQueue(Generic[T]):
    """The line before one container, with `places` users at a time.

    Two kinds stand in it: entries, which a worker takes with `next()` while it holds a place, and
    visitors, who hold a place themselves from `enter()` to `next()`.
    """

    def __init__(self, places: int) -> None:
        self.free = places
        self._waiting: deque[T | asyncio.Future[None]] = deque()

    def join(self, entry: T) -> bool:
        """Put an entry at the end; True when there is a free place, for which a worker is needed.

        The place is then taken: the worker must call `next()` until that returns None.
        """
        self._waiting.append(entry)
        if not self.free:
            return False
        self.free -= 1
        return True

    def next(self) -> T | None:
        """The entry whose turn it is, for a worker with a place; None: the place was given up."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not isinstance(turn, asyncio.Future):
                return turn
            if not turn.done():
                turn.set_result(None)  # the visitor has the place now
                return None
        self.free += 1
        return None

    def enter(self) -> asyncio.Future[None]:
        """Stand in line as a visitor: the future is done when the visitor has a place.

        Whoever has it must call `next()` in the end and serve the entry that it returns.
        """
        turn = asyncio.get_running_loop().create_future()
        if self.free:
            self.free -= 1
            turn.set_result(None)
        else:
            self._waiting.append(turn)
        return turn

    def clear(self) -> None:
        """Send everybody home who still waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if isinstance(turn, asyncio.Future):
                turn.cancel()
