"""When the next block is expected, so that nothing is sent that would be mined too late.

Only where blocks come on a schedule. Some chains make them on demand, when there is a transaction:
nothing is expected there. The two look alike while the node's own transactions are what the blocks
are made for; so blocks with those count only when they come earlier than the others.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

from infernet_edge.chain.delivery.errors import PermanentFailure
from infernet_edge.chain.delivery.record import OpenDelivery
from infernet_edge.chain.rpc.client import Call
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.txm.in_flight import Clock, InFlightSet, InFlightState

_REMEMBERED = 8  # intervals between blocks
_MIN_INTERVALS = 4
_EARLY = 0.75  # of the usual interval; a block that comes so early is on no schedule
_MAX_MARGIN = 1.0  # seconds that a transaction needs to the maker of a block; less for fast chains


class NextBlock:
    """Estimates the times of blocks, as a watcher of the head that follows the confirmer."""

    def __init__(self, in_flight: InFlightSet, clock: Clock = time.monotonic) -> None:
        self._in_flight = in_flight
        self._clock = clock
        self._last: BlockHeader | None = None
        self._seen_at = 0.0
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)

    def questions(self) -> list[Call]:
        """Nothing: the block alone has the time."""
        return []

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Note when a new block came."""
        last = self._last
        if last is not None and block.hash == last.hash:
            return
        if last is not None and block.number > last.number:
            interval = (block.timestamp - last.timestamp) / (block.number - last.number)
            usual = self._usual()
            early = usual is not None and interval < _EARLY * usual
            if early or not self._is_own(last.number):
                self._intervals.append(interval)
        self._last, self._seen_at = block, self._clock()

    def _is_own(self, after: int) -> bool:
        """Whether the blocks after that number have, or may have, transactions of this node."""
        known = self._in_flight.by_key.values()
        return any(each.state is not InFlightState.INCLUDED or each.block > after for each in known)

    def _usual(self) -> float | None:
        """The usual seconds between two blocks; None where there is no schedule."""
        if len(self._intervals) < _MIN_INTERVALS:
            return None
        shortest, longest = min(self._intervals), max(self._intervals)
        return shortest if longest <= 2 * shortest + 1 else None  # slots may be missed

    def expected(self) -> float | None:
        """The chain's time of the next block that can have a transaction that is sent now.

        None where that cannot be known.
        """
        usual = self._usual()
        if self._last is None or not usual:
            return None
        passed = self._clock() - self._seen_at + min(_MAX_MARGIN, usual / 4)
        return self._last.timestamp + usual * (math.floor(passed / usual) + 1)

    def check(self, delivery: OpenDelivery) -> None:
        """Raise PermanentFailure when no block comes before a delivery's interval ends."""
        end, expected = delivery.subscription.end_time(delivery.interval), self.expected()
        if end is not None and expected is not None and expected >= end:
            raise PermanentFailure(
                "The interval ends before the next block is expected, so nothing was sent"
            )
