"""How many requests run at once at one server: few at first, so that few exceed its limits."""

from __future__ import annotations

import math
from collections.abc import Callable

_FIRST = 4  # requests at once
_GROWTH_PAUSE = 0.25  # seconds until one more is allowed, while all are in use


class Window:
    """The number of requests that may run at once; `clock` gives seconds of a steady clock.

    It only grows: what a server refuses reduces the rate instead. The client limits them all.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._size = _FIRST
        self._grow_at = -math.inf

    def is_open(self, running: int) -> bool:
        """Whether another request may begin beside so many."""
        return running < self._size

    def answered(self, running: int) -> None:
        """A request was answered, while so many were running."""
        now = self._clock()
        if running >= self._size and now >= self._grow_at:
            self._size += 1
            self._grow_at = now + _GROWTH_PAUSE
