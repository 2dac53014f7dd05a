"""How often something happened within the last hour, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

_PERIOD: Final = 3600.0  # seconds
_PARTS: Final = 60  # parts of the period that are counted separately


class HourlyCount:
    """A count of the last hour, exact to a minute. `clock` gives seconds of a steady clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._parts: deque[list[int]] = deque()  # [number of the part, count]

    def add(self, count: int = 1) -> None:
        """Count what happened now."""
        part = self._drop_old()
        if not self._parts or self._parts[-1][0] != part:
            self._parts.append([part, 0])
        self._parts[-1][1] += count

    def total(self) -> int:
        """How often it happened within the last hour."""
        self._drop_old()
        return sum(count for _, count in self._parts)

    def _drop_old(self) -> int:
        part = int(self._clock() * _PARTS // _PERIOD)
        while self._parts and self._parts[0][0] <= part - _PARTS:
            self._parts.popleft()
        return part
