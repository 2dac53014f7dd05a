"""The slots of a container, and the queue for them: by priority, then first come, first served."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final, Generic, TypeVar

from infernet_edge.invariants import invariant

T = TypeVar("T")

MAX_POSITION: Final = 10_000
"""Entries of a queue that are counted for the position of one; the event loop waits meanwhile."""


class SlotQueue(Generic[T]):
    """A queue for one container with a number of `slots`, each for one call at a time.

    It holds two kinds in one order: entries, which a worker with a slot takes with `next()`, and
    direct calls, which have a slot of their own from `acquire()` to `next()`. An entry is in it at
    most once.

    While it is closed, all wait, whatever is free; those that have a slot keep it. `on_change` is
    called when something begins or ceases to wait in a closed queue, and when the last slot in use
    was released.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.free = slots  # of a closed queue as if it had no slots
        self.is_closed = False
        self.on_change: Callable[[], None] | None = None
        # By priority, the highest first. There are few priorities, and usually one.
        self._levels: dict[int, OrderedDict[T | asyncio.Future[None], None]] = {0: OrderedDict()}

    def put(self, entry: T, priority: int = 0) -> bool:
        """Add an entry; True when it took a free slot, for which the caller must start a worker.

        The worker must call `next()` until that returns None.
        """
        level = self._levels.get(priority)
        if level is None:
            level = self._add_level(priority)
        level[entry] = None
        if self.free <= 0:
            if self.is_closed:
                self._note_change()
            return False
        self.free -= 1
        return True

    def _add_level(self, priority: int) -> OrderedDict[T | asyncio.Future[None], None]:
        level = self._levels[priority] = OrderedDict()
        self._levels = dict(sorted(self._levels.items(), reverse=True))
        return level

    def next(self) -> T | None:
        """The next entry, for the owner of a slot; None when the slot was released or passed on."""
        if self.free < 0:  # there are fewer slots now
            self.free += 1
            if self.on_change is not None and not self.used:
                self.on_change()
            return None
        for level in self._levels.values():
            while level:
                first, _ = level.popitem(last=False)
                if not isinstance(first, asyncio.Future):
                    return first
                if not first.done():  # a direct call that was cancelled is skipped
                    first.set_result(None)  # the slot is passed on without becoming free
                    return None
        invariant(self.free < self._slots, "a slot was released that was not taken")
        self.free += 1
        if self.on_change is not None and self.free == self._slots:
            self.on_change()
        return None

    def acquire(self, priority: int = 0) -> asyncio.Future[None]:
        """Request a slot for a direct call: the future is done when the call has one.

        The caller must then call `next()` at the end, and start a worker for the entry that it
        returns. A future that is cancelled before it is done needs no `next()`.
        """
        acquired = asyncio.get_running_loop().create_future()
        if self.free > 0:
            self.free -= 1
            acquired.set_result(None)
        else:
            level = self._levels.get(priority)
            if level is None:
                level = self._add_level(priority)
            level[acquired] = None
            acquired.add_done_callback(functools.partial(self._forget, level))
            if self.is_closed:
                self._note_change()
        return acquired

    @property
    def slots(self) -> int:
        """How many there are, used or not."""
        return self._slots

    def resize(self, slots: int) -> list[T]:
        """Change the number of slots; with 0 all wait, and those that have a slot keep it.

        Returns the entries that got one of the new slots: the caller must start a worker for each.
        """
        if not self.is_closed:
            self.free += slots - self._slots
        self._slots = slots
        return self._fill()

    def close(self) -> None:
        """Give no slot to anyone until `reopen`."""
        if not self.is_closed:
            self.is_closed = True
            self.free -= self._slots

    def reopen(self) -> list[T]:
        """Give slots again. Returns the entries that got one: each needs a worker."""
        if self.is_closed:
            self.is_closed = False
            self.free += self._slots
        return self._fill()

    def _note_change(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def _fill(self) -> list[T]:
        taken: list[T] = []
        while self.free > 0 and self.waiting:
            self.free -= 1
            if (entry := self.next()) is not None:
                taken.append(entry)
        return taken

    def remove(self, entry: T) -> bool:
        """Remove an entry that waits; False when it is not in the queue."""
        for level in self._levels.values():
            if entry in level:
                del level[entry]
                if self.is_closed:
                    self._note_change()
                return True
        return False

    def positions(
        self, entries: Collection[T | asyncio.Future[None]]
    ) -> dict[T | asyncio.Future[None], int]:
        """How many are taken up to each of these entries, 1 for the next one.

        Without those that do not wait, or have MAX_POSITION others before them.
        """
        wanted = {entry for entry in entries if any(entry in x for x in self._levels.values())}
        found: dict[T | asyncio.Future[None], int] = {}
        if wanted:
            waiting = itertools.chain.from_iterable(self._levels.values())
            for number, entry in enumerate(itertools.islice(waiting, MAX_POSITION), 1):
                if entry in wanted:
                    found[entry] = number
                    if len(found) == len(wanted):
                        break
        return found

    @property
    def used(self) -> int:
        """How many slots are taken."""
        return -self.free if self.is_closed else self._slots - self.free

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return sum(map(len, self._levels.values()))

    def clear(self) -> None:
        """Drop all entries, and cancel all direct calls that still wait."""
        for level in self._levels.values():
            while level:
                waiting, _ = level.popitem(last=False)
                if isinstance(waiting, asyncio.Future):
                    waiting.cancel()

    def _forget(
        self, level: OrderedDict[T | asyncio.Future[None], None], acquired: asyncio.Future[None]
    ) -> None:
        """Remove a direct call that was cancelled: many of them must not fill the queue."""
        waited = level.pop(acquired, acquired) is None
        if waited and self.is_closed:
            self._note_change()
