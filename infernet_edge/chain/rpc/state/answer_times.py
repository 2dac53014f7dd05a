"""How long a server usually takes to answer, and how long to wait for it.

The estimate is that of TCP (RFC 6298): a smoothed time and its deviation, for each method.
"""

from __future__ import annotations

from collections.abc import Iterable

_MIN_LIMIT = 1.0  # seconds
_UNKNOWN_LIMIT = 5.0  # seconds for a method that was not answered yet
_FIRST_HEDGE = 0.25  # seconds before a second server is asked too
_METHODS = 64  # that are remembered; the node uses fewer
_SMOOTHING = 0.125
_DEVIATION = 0.25


class _Usual:
    """The usual time of one method, in seconds."""

    def __init__(self, seconds: float) -> None:
        self.mean = seconds
        self.deviation = seconds / 2
        self.raised = 0.0  # the limit after a timeout; falls again with each answer

    def add(self, seconds: float) -> None:
        self.deviation += _DEVIATION * (abs(seconds - self.mean) - self.deviation)
        self.mean += _SMOOTHING * (seconds - self.mean)
        self.raised /= 2


class AnswerTimes:
    """The usual times of one server; `timeout` is the longest time for one request (seconds)."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._methods: dict[str, _Usual] = {}

    def answered(self, methods: Iterable[str], seconds: float) -> None:
        """A request with these methods was answered after that time."""
        for method in set(methods):
            if method in self._methods:
                self._methods[method].add(seconds)
            elif len(self._methods) < _METHODS:
                self._methods[method] = _Usual(seconds)

    @property
    def usual(self) -> float | None:
        """The mean time of all methods in seconds; None while nothing was answered."""
        means = [each.mean for each in self._methods.values()]
        return sum(means) / len(means) if means else None

    def timed_out(self, methods: Iterable[str], seconds: float) -> None:
        """A request was not answered within that time: the next one gets twice as long."""
        for method in set(methods):
            if method in self._methods:
                self._methods[method].raised = min(2 * seconds, self._timeout)

    def limit(self, methods: Iterable[str], timeouts: int = 0) -> float:
        """Seconds to wait for an answer to these methods; longer after each timeout of theirs."""
        limit = min(_UNKNOWN_LIMIT, self._timeout)
        known = [self._methods[method] for method in set(methods) if method in self._methods]
        if known and len(known) == len(set(methods)):
            limit = max(max(2 * each.mean + 4 * each.deviation, each.raised) for each in known)
        return min(self._timeout, max(limit, _MIN_LIMIT) * (1 << min(timeouts, 10)))

    def hedge_after(self, methods: Iterable[str]) -> float:
        """Seconds after which an answer is late enough that another server is asked too."""
        known = [self._methods[method] for method in set(methods) if method in self._methods]
        usual = max((each.mean + 4 * each.deviation for each in known), default=1.0)
        return max(_FIRST_HEDGE, min(usual, self._timeout / 2))
