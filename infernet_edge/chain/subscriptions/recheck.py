"""Reads followed subscriptions again: after a start, a reorg, lost logs, or a cancellation.

That takes a few calls with each block, and starts after all else: nothing waits for it. What was
answered is kept when a later page fails.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from infernet_edge.chain.contracts.reader import SubscriptionReader
from infernet_edge.chain.subscriptions.scheduler import Scheduler

MAX_PAGES: Final = 4
"""How many pages are read again with each block."""


class Recheck:
    """The ids of subscriptions that have to be read again; the scheduler ends what is over."""

    def __init__(self, reader: SubscriptionReader, scheduler: Scheduler) -> None:
        self._reader = reader
        self._scheduler = scheduler
        self._urgent: set[int] = set()
        self._others: set[int] = set()
        self._position = 0  # the id after those that were read last
        self._block = ""  # the hash of the newest one
        self._may_read = False

    @property
    def is_ready(self) -> bool:
        """Whether something is to be read now."""
        return self._may_read and bool(self._urgent or self._others)

    def add(self, ids: Iterable[int], *, urgent: bool = False) -> None:
        """Read these again; those that are `urgent` before the others."""
        (self._urgent if urgent else self._others).update(ids)

    def note_block(self, hash_: str) -> None:
        """The head; with a new one some more pages may be read."""
        self._may_read = self._may_read or hash_ != self._block
        self._block = hash_

    async def read(self, block: int) -> None:
        """Read some of them, as they are in a block. Raises RpcUnavailable."""
        followed = self._scheduler.ids()
        self._urgent.intersection_update(followed)
        self._others.intersection_update(followed)
        ids = sorted(self._urgent or self._others)
        if not ids:
            return
        self._may_read = False  # first: what fails waits for the next block as well
        # From where the last pages ended, so that the same ones are not read again and again where
        # there are many reorgs.
        first = bisect_left(ids, self._position) % len(ids)
        found = await self._reader.read_again(ids[first:], MAX_PAGES, block)
        self._position = max(found) + 1
        self._urgent.difference_update(found)
        self._others.difference_update(found)
        await self._scheduler.take(found)
