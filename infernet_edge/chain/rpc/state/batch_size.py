"""How many calls one request to a server may hold, learned from what it accepts and refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from infernet_edge.backoff import Backoff

MAX_PER_REQUEST: Final = 100
_GROWTH_PAUSE = 5.0  # seconds between two larger sizes; doubles with each one that is refused
_LAST_GROWTH_PAUSE = 3600.0
_KNOWN_FOR = 600.0  # seconds for which a limit counts that was found
_RESTORED = 10.0  # seconds for which a size is kept that may have been refused for another reason


class BatchSize:
    """A search for the largest size that works: halves after a refusal, slow growth afterwards.

    `clock` gives seconds of a steady clock. `size` is that of the next request.
    """

    def __init__(self, clock: Callable[[], float], limit: int = MAX_PER_REQUEST) -> None:
        self._clock = clock
        self._limit = limit
        self._size = limit
        self._worked = 1  # the largest one
        self._refused = limit + 1  # the smallest one that is larger than `_worked`
        self._pauses = Backoff(_GROWTH_PAUSE, _LAST_GROWTH_PAUSE)
        self._grow_at = -math.inf
        self._refused_at = -math.inf
        self._grows = False  # `_size` was raised, and no request of that size came yet
        self._tries = 0  # requests that are larger than what worked, not answered yet
        self._before: tuple[float, int, int, int] | None = None

    @property
    def size(self) -> int:
        """How many calls the next request may hold.

        Where a limit is known to exist, only one request at a time tries a larger size.
        """
        return self._worked if self._is_known and self._tries else self._size

    @property
    def proven(self) -> int:
        """The largest number of calls that has worked."""
        return self._worked

    def is_proven(self, count: int) -> bool:
        """Whether so many calls have worked: a refusal then has another reason, probably."""
        return count <= self._worked

    def began(self, count: int) -> bool:
        """A request was sent; `ended` follows. Returns whether more calls than ever are in it."""
        is_try = count > self._worked
        self._tries += is_try
        return is_try

    def ended(self, is_try: bool) -> None:
        """A request came to an end, in whatever way."""
        self._tries -= is_try

    def worked(self, count: int) -> None:
        """So many calls in one request were answered."""
        self._worked = max(self._worked, min(count, self._limit))
        self._refused = max(self._refused, self._worked + 1)
        self._size = max(self._size, self._worked)
        now = self._clock()
        if self._grows and count >= self._size:
            self._grows = False
            self._pauses.reset()
        if count < self._size or self._size >= self._limit or now < self._grow_at:
            return
        if self._refused <= self._size + 1:
            if now - self._refused_at < _KNOWN_FOR:
                return
            self._refused = self._limit + 1  # servers change
        larger = (self._size + self._refused) // 2 if self._is_known else 2 * self._size
        self._size = min(larger, self._limit)
        self._grows = True
        self._grow_at = now + _GROWTH_PAUSE

    def refused(self, count: int, named: int = 0) -> None:
        """So many calls, two at least, were not accepted in one request.

        `named` is the limit that the server names; 0: none.
        """
        now = self._clock()
        if self._before is None or now - self._before[0] > _RESTORED:
            self._before = (now, self._size, self._worked, self._refused)
        if count <= self._worked:  # the limit is another one now
            self._worked = 1
        elif self._grows:  # the next attempt comes later
            self._grow_at = now + self._pauses.next()
        self._grows = False
        self._refused = max(self._worked + 1, min(self._refused, count))
        self._refused_at = now
        if self._worked <= named < count:
            self._size, self._refused = named, named + 1
        else:
            self._size = min(self._size, max(self._worked, count // 2))
        self._grow_at = max(self._grow_at, now + _GROWTH_PAUSE)

    def cut(self, count: int, answered: int) -> None:
        """Of the calls in one request, only that many were answered: that is the limit."""
        self.refused(count)
        self._worked = max(self._worked, min(answered, count - 1))
        self._size = self._worked

    def restore(self) -> None:
        """A call fails alone too, so that the refusals before had another reason than the size."""
        if self._before is not None and self._clock() - self._before[0] <= _RESTORED:
            _, self._size, self._worked, self._refused = self._before
            self._grow_at = -math.inf
        self._before = None

    @property
    def _is_known(self) -> bool:
        """Whether a size was refused."""
        return self._refused <= self._limit
