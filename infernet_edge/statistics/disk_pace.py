"""For how many days the disk lasts, by how its free space changed while the node ran."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

_STEP: Final = 900.0  # seconds between two samples that are kept
_SAMPLES: Final = 97  # 24 hours
_SHORTEST: Final = 3600.0  # seconds of samples, before which nothing is said
_LONGEST: Final = 365.0  # days; more is no news
_DAY: Final = 86_400.0


class DiskPace:
    """Samples of the free space of a day; the clock is one that cannot be set."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self._newest: tuple[float, int] | None = None

    def note(self, free: int) -> None:
        """Note the bytes that are free now; may be called as often as is convenient."""
        now = self._clock()
        self._newest = (now, free)
        if not self._samples or now - self._samples[-1][0] >= _STEP:
            self._samples.append((now, free))

    def days_left(self) -> float | None:
        """Days until nothing is free; None if not known, or when it does not get less."""
        if self._newest is None:
            return None
        (began, before), (now, free) = self._samples[0], self._newest
        seconds, grown = now - began, before - free
        if seconds < _SHORTEST or grown <= 0:
            return None
        days = free / grown * seconds / _DAY
        return round(days, 1) if days <= _LONGEST else None
