"""Rate limits: how many requests of a client each endpoint answers in a period.

Two kinds of request do not count, and only their execution shows which they are: polls, which find
nothing but unfinished jobs, and PUT /api/status of those who may use it.
"""

from __future__ import annotations

import time
from typing import Final

from infernet_edge.config.model import RateLimit
from infernet_edge.errors import TooManyRequests

Headers = list[tuple[bytes, bytes]]

MAX_POLLS: Final = 10  # of one client in a second that do not count
POLLS: Final = RateLimit(num_requests=MAX_POLLS, period=1.0)

_MAX_COUNTERS = 10_000  # pairs of a client and an endpoint with a counter
_POLL: Final = "poll"


class RateLimiter:
    """Counts requests per client and endpoint in windows of `period` seconds."""

    def __init__(self, limit: RateLimit) -> None:
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}
        self._period = limit.period
        self.apply(limit)

    def apply(self, limit: RateLimit) -> None:
        """Count against this limit from now on; another period begins new windows."""
        if limit.period != self._period:
            self._windows.clear()  # they are ordered by their ends
        self._limit = limit.num_requests
        self._period = limit.period
        self.active = self._limit > 0 and self._period > 0

    @property
    def counters(self) -> int:
        """How many pairs of a client and an endpoint are counted now."""
        return len(self._windows)

    def count(self, client: str, endpoint: str) -> Headers:
        """Count one request and return the headers that inform the client about its limit.

        Raises TooManyRequests, with the same headers and retry-after, when the limit is exceeded.
        """
        used, reset = self.use(client, endpoint)
        headers = self._headers(used, reset)
        if used > self._limit:
            raise TooManyRequests(
                "Too many requests",
                {"limit": self._limit, "period": self._period},
                {**headers, "retry-after": reset},
            )
        return _encoded(headers)

    def peek(self, client: str, endpoint: str) -> Headers:
        """The headers of `count`, without counting."""
        end, used = self._window(client, endpoint)
        return _encoded(self._headers(used, _seconds(end)))

    def is_used_up(self, client: str, endpoint: str) -> bool:
        """Whether one more request would exceed the limit."""
        return self._window(client, endpoint)[1] >= self._limit

    def try_use(self, client: str, endpoint: str) -> bool:
        """Count one, if that does not exceed the limit; returns whether it was counted."""
        return not self.is_used_up(client, endpoint) and bool(self.use(client, endpoint))

    def _headers(self, used: int, reset: str) -> dict[str, str]:
        return {
            "ratelimit-limit": str(self._limit),
            "ratelimit-remaining": str(max(0, self._limit - used)),
            "ratelimit-reset": reset,
        }

    def _window(self, client: str, endpoint: str) -> tuple[float, int]:
        """The end of the present window (monotonic time), and how many were counted in it."""
        now = time.monotonic()
        end, used = self._windows.get((client, endpoint), (0.0, 0))
        return (end, used) if now < end else (now + self._period, 0)

    def use(self, client: str, endpoint: str) -> tuple[int, str]:
        """Count one; returns the number in this window, and the seconds to its end."""
        now = time.monotonic()
        key = (client, endpoint)
        end, used = self._windows.get(key, (0.0, 0))
        if now >= end:
            end, used = now + self._period, 0
            self._windows.pop(key, None)  # inserted again below: the dict is ordered by the ends
            self._evict(now)
        used += 1
        self._windows[key] = (end, used)
        return used, _seconds(end)

    def _evict(self, now: float) -> None:
        """Remove the counters whose window has ended, and the oldest beyond the maximum."""
        while self._windows:
            oldest = next(iter(self._windows))
            if self._windows[oldest][0] > now and len(self._windows) < _MAX_COUNTERS:
                break
            del self._windows[oldest]


class Charge:
    """What one request costs its client: one of its rate limit, or nothing.

    It is counted by `settle`: before the request is executed, or, where that decides whether it
    counts, when the answer begins.
    """

    __slots__ = ("_client", "_endpoint", "_headers", "_is_poll", "_limiter", "_polls")

    def __init__(
        self, limiter: RateLimiter, polls: RateLimiter, client: str, endpoint: str
    ) -> None:
        self._limiter, self._polls = limiter, polls
        self._client, self._endpoint = client, endpoint
        self._headers: Headers | None = None  # None until it is settled
        self._is_poll = False  # it is counted as a poll

    def admit_poll(self) -> None:
        """Admit a request that may be a poll; to be called before its execution.

        Where the limit is used up, it is executed as one of the polls of its client or not at all:
        so executions whose answer is 429 are limited too. Raises TooManyRequests.
        """
        if self._limiter.is_used_up(self._client, self._endpoint):
            self._is_poll = self._polls.try_use(self._client, _POLL)
            if not self._is_poll:
                self.settle()

    def waive_poll(self) -> None:
        """Do not count the request, if its client does not poll more often than MAX_POLLS."""
        if self._is_poll or self._polls.try_use(self._client, _POLL):
            self._headers = self._limiter.peek(self._client, self._endpoint)

    def waive_wait(self) -> None:
        """Do not count a request that has waited for at least a second, so that it is rare."""
        self._headers = self._limiter.peek(self._client, self._endpoint)

    def waive(self) -> None:
        """Do not count the request; its answer has no headers about the limit."""
        self._headers = []

    def settle(self) -> Headers:
        """Count the request, once, if it was not waived; returns the headers of its answer.

        Raises TooManyRequests.
        """
        if self._headers is None:
            self._headers = []  # an error that is raised now has them itself
            self._headers = self._limiter.count(self._client, self._endpoint)
        return self._headers


def _encoded(headers: dict[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _seconds(end: float) -> str:
    """The seconds to a monotonic time, for a header."""
    return str(max(1, round(end - time.monotonic())))
