"""One budget of bytes for everything that the node holds in memory for clients and containers.

When it is used up, new requests are refused; accepted work waits, and nothing of it is lost. It
counts what clients and containers can make large: bodies, inputs, outputs, answers, streams.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Final, Literal, NamedTuple, Self

from infernet_edge.errors import Unavailable
from infernet_edge.invariants import invariant
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

Kind = Literal["requests", "answers", "inputs", "outputs", "streams", "deliveries"]
SHARES: Final[dict[Kind, float]] = {
    "requests": 0.5,  # bodies, until their jobs are on the disk
    "answers": 0.25,  # what is being sent to clients
    "inputs": 0.25,  # of jobs that wait for a container; beyond that they stay on the disk
    "outputs": 1.0,  # of containers, until they are on the disk
    "streams": 0.25,  # buffers of streaming jobs
    "deliveries": 0.25,  # requests of subscriptions that are not answered yet
}
"""What is counted, and the maximum part of the budget that each kind may use."""

SMALL: Final = 64 * 2**10
"""Bytes of a reservation that is small. A part of the budget is reserved for these, so that large
requests and outputs cannot block small ones."""

MAX_PER_LIMIT: Final = 3
"""A budget is at least this many times its largest output, so that each kind has room."""

_LOG_PERIOD = 60.0  # seconds; a budget that is used up is logged once in this time


class _Waiter(NamedTuple):
    reservation: Reservation
    size: int
    granted: asyncio.Future[None]


class MemoryBudget:
    """At most `limit` bytes; `largest` is the maximum size of a single output.

    `largest` bytes are a reserve that only one output at a time may use. So at least one of the
    outputs that wait for memory always finishes and releases its memory: no deadlock is possible.
    """

    def __init__(self, limit: int, largest: int) -> None:
        if limit < MAX_PER_LIMIT * largest:
            raise ValueError(f"expected a budget of at least {MAX_PER_LIMIT * largest} bytes")
        self.limit = limit
        self.held: dict[Kind, int] = dict.fromkeys(SHARES, 0)
        self.total = 0
        self.peak = 0
        """The maximum of `total` since the housekeeper last reset it."""
        self._limits: dict[Kind, int] = {kind: int(limit * part) for kind, part in SHARES.items()}
        self._shared = limit - largest
        self._waiters: deque[_Waiter] = deque()
        self._first: Reservation | None = None  # the one that may use the reserve
        self._until_free: list[asyncio.Future[None]] = []
        self._logged_at = -_LOG_PERIOD

    def reserve(self, kind: Kind) -> Reservation:
        """A reservation of no bytes yet."""
        return Reservation(self, kind)

    @property
    def is_short(self) -> bool:
        """Whether work in progress waits for memory; no other work should start meanwhile."""
        return bool(self._waiters)

    async def until_free(self) -> None:
        """Wait until no work in progress waits for memory."""
        while self._waiters:
            free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._until_free.append(free)
            await free

    def try_take(self, reservation: Reservation, size: int) -> bool:
        """Add to a reservation if there is memory; outputs only if no other work waits for it."""
        if self._waiters and reservation.kind == "outputs":
            return False
        if not self._has_room(reservation, size):
            return False
        self._add(reservation, size)
        return True

    def try_take_spare(self, reservation: Reservation, size: int) -> bool:
        """Add what only makes work faster: at most half of its kind's share is used with it."""
        kind = reservation.kind
        if 2 * (self.held[kind] + size) > self._limits[kind]:
            return False
        return self.try_take(reservation, size)

    async def wait_for(self, reservation: Reservation, size: int) -> None:
        """Add to a reservation as soon as there is memory, in the order of the calls."""
        if self.try_take(reservation, size):
            return
        self.log_shortage(reservation.kind)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(reservation, size, granted)
        if reservation is self._first:  # must not wait behind others: it uses the reserve
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._serve()
        try:
            await granted
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._serve()

    def release(self, reservation: Reservation, size: int) -> None:
        """Return bytes of a reservation to the budget."""
        self._add(reservation, -size)
        if not reservation.size and reservation is self._first:
            self._first = None
        self._serve()

    def log_shortage(self, kind: Kind) -> None:
        """Log that the budget is used up, once a minute at most."""
        now = time.monotonic()
        if now - self._logged_at >= _LOG_PERIOD:
            self._logged_at = now
            log_event(logger, "memory.exhausted", logging.WARNING, wanted_for=kind, **self.held)

    def _has_room(self, reservation: Reservation, size: int) -> bool:
        total_limit, kind_limit = self._shared, self._limits[reservation.kind]
        if reservation.size + size > SMALL:
            total_limit -= self.limit // 8
            kind_limit -= kind_limit // 4
        total_held, kind_held = self.total, self.held[reservation.kind]
        if self._first is not None:  # it uses the reserve
            total_held -= self._first.size
            kind_held -= self._first.size if self._first.kind == reservation.kind else 0
        return total_held + size <= total_limit and kind_held + size <= kind_limit

    def _add(self, reservation: Reservation, size: int) -> None:
        kind = reservation.kind
        reservation.size += size
        self.held[kind] += size
        self.total += size
        self.peak = max(self.peak, self.total)
        if reservation.size < 0 or self.total > self.limit:  # each job comes here many times
            invariant(reservation.size >= 0, f"more bytes of {kind} were released than taken")
            invariant(self.total <= self.limit, "more bytes are held than the budget allows")

    def _serve(self) -> None:
        """Grant memory to the waiters, in their order."""
        while self._waiters:
            reservation, size, granted = self._waiters[0]
            if not granted.cancelled():
                if not self._has_room(reservation, size):
                    if self._first not in (None, reservation):
                        return
                    self._first = reservation
                self._add(reservation, size)
                granted.set_result(None)
            self._waiters.popleft()
        free, self._until_free = self._until_free, []
        for future in free:
            if not future.done():
                future.set_result(None)


class Reservation:
    """The bytes of one holder; a context manager that releases them at the end."""

    __slots__ = ("_budget", "kind", "size")

    def __init__(self, budget: MemoryBudget, kind: Kind) -> None:
        self._budget = budget
        self.kind: Kind = kind
        self.size = 0

    def try_take(self, size: int) -> bool:
        """Take more bytes, if there is memory; returns whether there was."""
        return self._budget.try_take(self, size)

    def try_take_spare(self, size: int) -> bool:
        """Take bytes that are not necessary, if there is much memory; returns whether there was."""
        return self._budget.try_take_spare(self, size)

    def take(self, size: int) -> None:
        """Take more bytes; raises Unavailable, the answer to the client."""
        if not self._budget.try_take(self, size):
            self._budget.log_shortage(self.kind)
            raise Unavailable(
                "The memory for requests is used up; try again later",
                {"limit": self._budget.limit},
                retry_after=5,
            )

    async def wait_for(self, size: int) -> None:
        """Take more bytes as soon as there is memory; for work that was accepted."""
        await self._budget.wait_for(self, size)

    def release(self, size: int | None = None) -> None:
        """Return bytes to the budget; all by default, which may be repeated."""
        if size is None:
            size = self.size
        if size:
            self._budget.release(self, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def unlimited() -> MemoryBudget:
    """A budget without a practical limit, for commands that serve no clients."""
    return MemoryBudget(2**62, 0)
