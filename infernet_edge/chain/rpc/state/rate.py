"""How many requests a second a server accepts, learned from its refusals.

No rate is assumed until a server refuses a request because of it. Then the rate is half of what was
accepted; it grows quickly to what was accepted before, and slowly beyond that.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

from infernet_edge.backoff import Backoff

_MIN_RATE = 0.2  # requests per second
_FIRST_RATE = 4.0  # the least that is assumed to have been accepted at the first refusal
_NO_RATE = 100.0  # requests per second above which there is no limit any more
_FIRST_PAUSE = 1.0  # seconds after a refusal: most limits are those of a second; doubles
_MAX_PAUSE = 5.0
_WINDOW = 1.0  # seconds over which the accepted requests are counted
_COUNTED = 256  # accepted requests that are remembered
_NEAR = 0.85  # of what was accepted before; up to there the rate grows quickly
_QUICK = 0.1  # growth per second, in parts of what was accepted before
_SLOW = 0.01
_BEYOND = 0.1  # growth per second, in parts of the rate itself
_STEP = 2.0  # seconds for which one answer may let the rate grow


class Rate:
    """The requests per second that one server gets; `clock` gives seconds of a steady clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.per_second = math.inf
        self._accepted_rate = math.inf
        self._accepted: deque[float] = deque(maxlen=_COUNTED)
        self._pauses = Backoff(_FIRST_PAUSE, _MAX_PAUSE)
        self._next_at = -math.inf
        self._refused_at = -math.inf
        self._blocked_until = -math.inf
        self._named_until = -math.inf
        self._active_since = math.inf  # the first request after a refusal
        self._grown_at = -math.inf
        self._estimates = False  # the first refusal is not over yet
        self._limits = False  # a request has waited for the rate since it grew

    @property
    def is_limited(self) -> bool:
        """Whether a limit is known."""
        return self.per_second < math.inf

    @property
    def blocked(self) -> float:
        """Seconds until a request may begin again after a refusal."""
        return max(0.0, self._blocked_until - self._clock())

    @property
    def named_pause(self) -> float:
        """Seconds that are left of a pause that the server named."""
        return max(0.0, self._named_until - self._clock())

    def wait(self) -> float:
        """Seconds until the next request may begin; 0: now."""
        now = self._clock()
        paced = self._next_at - now
        self._limits = self._limits or paced > 0
        return max(0.0, self._blocked_until - now, paced)

    def began(self) -> None:
        """A request begins."""
        now = self._clock()
        self._estimates = False
        self._active_since = min(self._active_since, now)
        if self.is_limited:
            self._next_at = max(self._next_at, now) + 1 / self.per_second

    def accepted(self) -> None:
        """A request was answered."""
        now = self._clock()
        self._accepted.append(now)
        self._pauses.reset()
        if not self.is_limited:
            return
        if self._estimates:  # it ran at the same time as what was refused
            self._set(max(self._accepted_rate, self._count(now)))
            return
        passed = min(now - self._grown_at, _STEP)
        if passed <= 0:
            return
        self._grown_at = now
        if self._limits:
            self._grow(passed)
        self._limits = False

    def _grow(self, passed: float) -> None:
        rate, before = self.per_second, self._accepted_rate
        if rate < _NEAR * before:
            rate = min(rate + _QUICK * before * passed, _NEAR * before)
        elif rate < before:
            rate += _SLOW * before * passed
        else:
            rate += _BEYOND * rate * passed
        self.per_second = rate if rate < _NO_RATE else math.inf

    def refused(self, began: float, pause: float = 0.0) -> None:
        """A request that began at that time was refused; `pause` is what the server asks for.

        Requests that ran at the same time count as one refusal.
        """
        now = self._clock()
        if pause > 0:
            self._named_until = max(self._named_until, now + pause)
        if began <= self._refused_at:
            self._blocked_until = max(self._blocked_until, now + pause)
            return
        own = self._pauses.next() * random.uniform(0.8, 1.2)  # noqa: S311
        self._blocked_until = max(self._blocked_until, now + max(pause, own))
        self._estimates = not self.is_limited
        self._set(self._measure(now))
        self._refused_at = self._grown_at = now
        self._active_since = math.inf

    def suspected(self, began: float) -> None:
        """A request that began at that time failed in a way that may mean that it came too fast.

        That is assumed only where many requests came: else any error would slow the node down.
        """
        if self._count(self._clock()) >= _FIRST_RATE:
            self.refused(began)

    def _set(self, accepted_rate: float) -> None:
        """Begin with half of what was accepted, and not more than half of the rate before."""
        before = math.inf if self._estimates else self.per_second
        self._accepted_rate = accepted_rate
        self.per_second = max(_MIN_RATE, min(before, accepted_rate) / 2)

    def _measure(self, now: float) -> float:
        """The rate that was accepted, in requests per second."""
        if not self.is_limited:
            return max(_FIRST_RATE, self._count(now))
        if now - self._active_since < _WINDOW:  # too short a time to measure it
            return min(self._accepted_rate, self.per_second)
        return min(self.per_second, max(_MIN_RATE, self._count(now)))

    def _count(self, now: float) -> float:
        return sum(now - moment <= _WINDOW for moment in self._accepted) / _WINDOW
