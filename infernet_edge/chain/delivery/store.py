"""The deliveries: what the node has accepted to deliver on-chain, and the state of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from infernet_edge.chain.contracts.payload import Payload
from infernet_edge.chain.contracts.subscription import Subscription
from infernet_edge.chain.delivery import table
from infernet_edge.chain.delivery.record import UNFINISHED, Delivery, OpenDelivery
from infernet_edge.clock import milliseconds
from infernet_edge.errors import Unavailable
from infernet_edge.invariants import invariant
from infernet_edge.jobs.contents import Buffer
from infernet_edge.memory import Reservation, unlimited
from infernet_edge.storage.database import Database

_BESIDE_REQUEST = 1536  # bytes of memory that a delivery takes beside its request, about


LAST_NUMBER: Final = 2**63 - 1
"""Greater than the number of each delivery."""


class DeliveryStore:
    """Keeps deliveries durably; `pending` counts those that are not finished."""

    def __init__(
        self,
        database: Database,
        max_pending: int,
        *,
        held: Reservation | None = None,
        max_data: int = 2**62,
    ) -> None:
        """`held` counts the requests in memory, `max_data` limits the bytes of their inputs."""
        self._database = database
        self.max_pending = max_pending
        self.pending = 0
        self._held = held or unlimited().reserve("deliveries")
        self._sizes: dict[int, int] = {}  # of those that are counted, by number
        self.max_data = max_data
        self.counts: Counter[str] = Counter()  # accepted, and ended, by state
        self._first_number = 1  # that may be given
        self.on_stored: Callable[[Delivery], None] = lambda delivery: None
        """Called with each delivery whose state was stored."""

    async def load(self, last_number: int = 0) -> list[OpenDelivery | Delivery]:
        """What an earlier run left unfinished, oldest first. To be called once, at start.

        Those that are damaged are not open: their requests cannot be parsed.

        Numbers up to `last_number` are not given: what was lost with a damaged file had them.
        """
        await self._database.write(table.convert)
        self._first_number = last_number + 1
        deliveries = await self._database.read(table.unfinished)
        self.pending = len(deliveries)
        for each in deliveries:
            if self._held.try_take(_size(each)):
                self._sizes[each.number] = _size(each)
        return deliveries

    async def add(
        self, delivery: Delivery, data: Buffer | None = None, *, limited: bool = True
    ) -> Delivery | None:
        """Store a new delivery; returns the one that has its names already, if there is one.

        `data` is the input that came with it, see delegated_data.py.
        One that failed makes room, unless a later interval of its subscription is in work.
        Raises Unavailable when it is `limited` and too many are unfinished, or too large.
        """
        size = _size(delivery)
        counted = self._held.try_take(size)
        try:
            if limited and (self.pending >= self.max_pending or not counted):
                raise Unavailable("Too many pending on-chain jobs", {"limit": self.max_pending})
            known = await self._add(delivery, data)
        except BaseException:
            self._held.release(size if counted else 0)
            raise
        if known is not None:
            self._held.release(size if counted else 0)
        elif counted:
            self._sizes[delivery.number] = size
        return known

    async def _add(self, delivery: Delivery, data: Buffer | None) -> Delivery | None:
        delivery.created_at = delivery.changed_at = milliseconds()
        self.pending += 1  # already now, so that what comes meanwhile finds it full
        try:
            number, known = await self._database.write(
                table.insert, delivery, data, self.max_data, self._first_number
            )
        except BaseException:
            self.pending -= 1
            raise
        if number == table.NO_ROOM:
            self.pending -= 1
            raise Unavailable("The storage limit for on-chain jobs is reached (storage.max_bytes)")
        if known is not None:
            self.pending -= 1
            return known
        delivery.number = number
        self.on_stored(delivery)
        self.counts["accepted"] += 1
        return None

    async def save(self, delivery: Delivery) -> None:
        """Store the state of a delivery, with all that belongs to it.

        With its end goes the answer, which is on the chain, and a request that cannot come again.
        """
        delivery.changed_at = milliseconds()
        was_unfinished = await self._database.write(table.update, delivery)
        delivery.input, delivery.output, delivery.proof = b"", None, b""
        if was_unfinished and delivery.state not in UNFINISHED:
            self.pending -= 1
            self.counts[delivery.shown_state] += 1
            invariant(self.pending >= 0, "more deliveries ended than were pending")
            self._held.release(self._sizes.pop(delivery.number, 0))
        self.on_stored(delivery)

    async def answer(self, delivery: Delivery) -> Payload:
        """The stored answer of a delivery that is to be sent."""
        return await self._database.read(table.answer, delivery.number)

    async def prune(self, number: int) -> None:
        """Delete deliveries that ended, up to a number, and all beyond 100,000.

        The latter are also deleted while new ones are stored. Their requests may come again then:
        the contract knows that they were answered.
        """
        await self._database.write(table.prune, number)

    async def newest(
        self, limit: int, *, skipped: bool = False, before: int = LAST_NUMBER
    ) -> list[Delivery]:
        """The newest deliveries, newest first, without their requests and answers.

        `skipped`: only those for which nothing was computed; `before`: only smaller numbers.
        """
        return await self._database.read(table.newest, limit, skipped, before)

    async def delegated_by(self, owner: str) -> list[tuple[int, Subscription | None]]:
        """The nonces of an owner's delegated requests to coordinators of SDK 1.x, newest first.

        With each the subscription in it, as far as the request is kept.
        """
        return await self._database.read(table.delegated_by, owner)


def _size(delivery: Delivery) -> int:
    """Bytes of memory that a delivery takes until its end."""
    return len(delivery.request) + _BESIDE_REQUEST
