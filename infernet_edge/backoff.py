"""Growing pauses between attempts, so that what keeps failing is not retried all the time."""

from __future__ import annotations


class Backoff:
    """`next()` returns `first`, then `factor` times as much each time, up to `limit` (seconds)."""

    def __init__(self, first: float, limit: float, factor: float = 2.0) -> None:
        self._first, self._limit, self._factor = first, limit, factor
        self._next = first

    def next(self) -> float:
        """The pause before the next attempt, in seconds."""
        pause = self._next
        self._next = min(pause * self._factor, self._limit)
        return pause

    def reset(self) -> None:
        """Start with `first` again, after an attempt that succeeded."""
        self._next = self._first
