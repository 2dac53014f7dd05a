"""The head of the chain as one server knows it: does it move, and is it behind that of another?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from infernet_edge.chain.rpc.errors import Call, RpcError, quantity

_REMEMBERED = 8  # intervals between new heads
_SHORTEST_STILL = 5.0  # seconds without a new head, before it counts as standing still
_UNKNOWN_STILL = 10.0  # the same while the usual interval is not known
_STILL = 2.5  # the same, in parts of the longest interval
_UNSEEN = 30.0  # seconds between two answers, for the time between to count
_BEHIND = 60  # seconds by the blocks' times that another server's head may be newer


class Head(NamedTuple):
    """The newest block's number, and its time in seconds of the chain."""

    number: int
    timestamp: int


class HeadState:
    """What one server answers for the newest block; `clock` gives seconds of a steady clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.head: Head | None = None
        self.is_null = False  # "latest" has no block: the server is syncing
        self._moved_at = 0.0
        self._noted_at = 0.0
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, answer: Any) -> None:
        """Note an answer for the block "latest"; errors and what is no block say nothing."""
        self.is_null = answer is None
        if isinstance(answer, RpcError) or not isinstance(answer, dict):
            return
        try:
            head = Head(quantity(answer.get("number")), quantity(answer.get("timestamp")))
        except ValueError:
            return
        now = self._clock()
        unseen = now - self._noted_at > _UNSEEN
        if self.head is not None and head.number > self.head.number and not unseen:
            self._intervals.append(now - self._moved_at)
        if self.head is None or head.number > self.head.number or unseen:
            self._moved_at = now
        self._noted_at = now
        if self.head is None or head.number >= self.head.number:
            self.head = head

    @property
    def still_for(self) -> float:
        """Seconds for which the head was seen to be the same."""
        return self._noted_at - self._moved_at

    @property
    def stands_still(self) -> bool:
        """Whether no block has come for longer than usual: reason to compare with others."""
        usual = max(_SHORTEST_STILL, _STILL * max(self._intervals)) if self._intervals else None
        return self.still_for > (usual or _UNKNOWN_STILL)

    @property
    def problem(self) -> str:
        """What the operator is shown, "" for nothing; some chains rightly stand still."""
        return "it has no newest block: it is syncing" if self.is_null else ""

    def is_behind(self, other: HeadState) -> bool:
        """Whether another server's head is ahead, and not just by a moment."""
        if other.head is None:
            return False
        if self.head is None:
            return self.is_null
        return other.head.number > self.head.number and (
            self.stands_still or other.head.timestamp - self.head.timestamp > _BEHIND
        )

    def has_reached(self, other: HeadState) -> bool:
        """Whether it knows the newest block of another server, or the one before it."""
        if self.is_null:
            return False
        if self.head is None or other.head is None:
            return True
        return self.head.number >= other.head.number - 1


def is_newest_block(call: Call) -> bool:
    """Whether a call is for the newest block."""
    method, params = call
    return method == "eth_getBlockByNumber" and params[:1] == ["latest"]
