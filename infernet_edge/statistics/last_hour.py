"""What ended in each of the last 60 minutes, and how long it took: jobs, or calls of a container.

Minutes are those of a clock that cannot be set. The times of a minute are counted in a histogram of
fixed size, four bins for each doubling, so that a percentile is right within 10 %.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from infernet_edge.clock import milliseconds

STEP: Final = 60
"""Seconds that one bucket counts."""

BUCKETS: Final = 60

_PER_DOUBLING: Final = 4
_BINS: Final = 96
_LONGEST: Final = 2**23 / 1000  # seconds; all above are counted together


class Summary(Struct, frozen=True):
    """What ended within an hour. `p50_ms` and `p95_ms`: percentiles of the time, None of none."""

    done: int
    failed: int
    p50_ms: int | None
    p95_ms: int | None


class Minutes(Struct, frozen=True):
    """The last hour by minutes, oldest first; the last one has not ended.

    `end` is its end, in milliseconds since 1970; `p50_ms` are the medians of the times.
    """

    step_s: int
    end: int
    done: list[int]
    failed: list[int]
    p50_ms: list[int | None]


class Minute(Struct, frozen=True):
    """One minute of the past, which ended at `end` (milliseconds since 1970)."""

    end: int
    done: int
    failed: int
    p50_ms: int | None


class _Bucket:
    __slots__ = ("done", "failed", "number", "times")

    def __init__(self, number: int) -> None:
        self.number = number
        self.done = 0
        self.failed = 0
        self.times = array("L", bytes(_BINS * array("L").itemsize))


_NONE: Final = _Bucket(-1)


def _running() -> float:
    """Seconds of a clock that cannot be set and also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LastHour:
    """Counts ends by minutes. Its size does not depend on how many there are."""

    def __init__(self, clock: Callable[[], float] = _running) -> None:
        self._clock = clock
        self._buckets: deque[_Bucket] = deque(maxlen=BUCKETS)
        self._newest = _NONE
        self._ends = 0.0  # when the newest minute ends; `note` is called for each job

    def note(self, seconds: float | None, *, ok: bool) -> None:
        """Count an end; `seconds` is how long it took, None where it did not begin."""
        now = self._clock()
        if now >= self._ends:
            self._begin(int(now // STEP))
        bucket = self._newest
        if ok:
            bucket.done += 1
        else:
            bucket.failed += 1
        if seconds is not None:
            bucket.times[_bin(seconds)] += 1

    def _begin(self, number: int) -> None:
        self._newest = _Bucket(number)
        self._buckets.append(self._newest)
        self._ends = (number + 1) * STEP

    def summary(self) -> Summary:
        """All that ended within the hour."""
        found = self._recent()
        times = _sum(each.times for each in found)
        return Summary(
            sum(each.done for each in found),
            sum(each.failed for each in found),
            _percentile(times, 0.5),
            _percentile(times, 0.95),
        )

    def minutes(self) -> Minutes:
        """The hour, minute by minute."""
        known = {each.number: each for each in self._recent()}
        now = self._clock()
        last = int(now // STEP)
        found = [known.get(number, _NONE) for number in range(last - BUCKETS + 1, last + 1)]
        return Minutes(
            STEP,
            milliseconds() + round(((last + 1) * STEP - now) * 1000),
            [each.done for each in found],
            [each.failed for each in found],
            [_percentile(each.times, 0.5) for each in found],
        )

    @property
    def seconds_left(self) -> float:
        """Seconds until the present minute ends."""
        return STEP - self._clock() % STEP

    def last_minute(self) -> Minute:
        """The newest minute that has ended."""
        hour = self.minutes()
        end = hour.end - STEP * 1000
        return Minute(end, hour.done[-2], hour.failed[-2], hour.p50_ms[-2])

    def _recent(self) -> list[_Bucket]:
        first = int(self._clock() // STEP) - BUCKETS + 1
        return [each for each in self._buckets if each.number >= first]


def _bin(seconds: float) -> int:
    if 0.001 < seconds < _LONGEST:
        return int(math.log2(seconds * 1000) * _PER_DOUBLING)
    return _BINS - 1 if seconds > 1 else 0


def _sum(histograms: Iterable[array[int]]) -> list[int]:
    return [sum(bins) for bins in zip(*histograms, strict=True)]


def _percentile(times: Iterable[int], part: float) -> int | None:
    """The milliseconds below which that part of the times is: the middle of a bin."""
    times = list(times)
    rest = sum(times) * part
    if not rest:
        return None
    for number, count in enumerate(times):
        rest -= count
        if rest <= 0 and count:
            return round(2 ** ((number + 0.5) / _PER_DOUBLING))
    return None
