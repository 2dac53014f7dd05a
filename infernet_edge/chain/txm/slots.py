"""How many transactions may be sent and not in a block yet, and whose turn it is.

One that is in a block holds no slot, although it is followed until it is final. Of one subscription
there is one transaction at a time: while the chain stands still, those for later intervals would
all be mined in the same block, too late.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import NamedTuple

from infernet_edge.chain.rpc.client import RpcUnavailable
from infernet_edge.chain.txm.in_flight import Clock, InFlightSet

_MAX_WAIT = 30.0  # seconds for a slot; then the caller checks whether it still makes sense
_ONE_AT_A_TIME_SECONDS = 3600.0  # after a refusal; the account may not be delegated any more
_UNPROVEN_LIMIT = 2  # until a server has taken a second one while the first waited


class NoSlot(RpcUnavailable):
    """No slot became free in time; a retry may succeed."""


class _Waiting(NamedTuple):
    key: str
    group: Hashable | None
    turn: asyncio.Future[None]


class TransactionSlots:
    """The slots of one account; `maximum` is chain.max_pending_transactions."""

    def __init__(self, in_flight: InFlightSet, maximum: int, clock: Clock = time.monotonic) -> None:
        self._in_flight = in_flight
        self._maximum = maximum
        self._clock = clock
        self._held: set[str] = set()  # given, and the transaction is not sent yet
        self._groups: dict[str, Hashable] = {}  # by key
        self._waiting: deque[_Waiting] = deque()
        self._one_until = -float("inf")
        self._several = False  # a server has taken one while another one was pending

    @property
    def limit(self) -> int:
        """How many slots there are now."""
        if self._clock() < self._one_until:
            return 1
        return self._maximum if self._several else min(_UNPROVEN_LIMIT, self._maximum)

    @asynccontextmanager
    async def slot(
        self, key: str, group: Hashable | None = None, *, first: bool = False
    ) -> AsyncIterator[None]:
        """Hold a slot while the transaction with this key is made and sent.

        Once sent, it keeps its slot until it is in a block. `group`: only one of a group is
        pending at a time. `first`: do not wait behind others. Raises NoSlot.
        """
        await self._acquire(_Waiting(key, group, asyncio.Future()), first=first)
        try:
            yield
        except BaseException:
            self._groups.pop(key, None)
            raise
        finally:
            self._held.discard(key)
            self.grant()

    async def _acquire(self, waiting: _Waiting, *, first: bool) -> None:
        if first:
            self._waiting.appendleft(waiting)
        else:
            self._waiting.append(waiting)
        self.grant()
        try:
            async with asyncio.timeout(_MAX_WAIT):
                await waiting.turn
        except BaseException as error:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:  # it was given at the same moment
                self._held.discard(waiting.key)
                self._groups.pop(waiting.key, None)
                self.grant()
            if isinstance(error, TimeoutError):
                raise NoSlot(self._reason(waiting)) from None
            raise

    def _reason(self, waiting: _Waiting) -> str:
        if waiting.group in self._busy_groups():
            return "The subscription's former transaction is not in a block yet"
        if self.limit == 1 < self._maximum:
            return (
                "The account is delegated (EIP-7702): servers take one transaction after the other"
            )
        return (
            "As many transactions wait for a block as chain.max_pending_transactions allows"
            f" ({self._maximum})"
        )

    def adopt(self, key: str, group: Hashable | None) -> None:
        """Note the group of a transaction that an earlier run has sent."""
        if group is not None:
            self._groups[key] = group

    def release(self, key: str) -> None:
        """The transaction is final, or there is none. May be called more than once."""
        self._groups.pop(key, None)
        self.grant()

    def grant(self) -> None:
        """Give free slots to those who wait. To be called when transactions have changed."""
        if not self._waiting:
            return
        free = self.limit - len(self._held | self._in_flight.pending())
        busy = self._busy_groups()
        for waiting in list(self._waiting):
            if free <= 0:
                return
            if waiting.group is not None and waiting.group in busy:
                continue
            self._waiting.remove(waiting)
            if waiting.turn.done():  # cancelled
                continue
            self._held.add(waiting.key)
            if waiting.group is not None:
                self._groups[waiting.key] = waiting.group
                busy.add(waiting.group)
            waiting.turn.set_result(None)
            free -= 1

    def _busy_groups(self) -> set[Hashable]:
        return {
            group
            for key, group in self._groups.items()
            if key in self._held or self._in_flight.is_pending(key)
        }

    def note_taken(self, key: str) -> None:
        """A server has taken a transaction; with another one pending it takes several."""
        if self._in_flight.pending() - {key}:
            self.note_several()

    def note_several(self) -> None:
        """A server has several of the account that wait for a block."""
        if self._clock() >= self._one_until and not self._several:
            self._several = True
            self.grant()

    def note_one_at_a_time(self) -> None:
        """A server takes one after the other: do so for a while, then try two again."""
        self._one_until = self._clock() + _ONE_AT_A_TIME_SECONDS
        self._several = False
