from __future__ import annotations

import random
from collections import deque
from typing import NamedTuple

import pytest

from infernet_edge.chain.rpc.state import rate as module
from infernet_edge.chain.rpc.state.rate import Rate
from tests.support.clock import Clock

REAL = {name: getattr(module, name) for name in ("_FIRST_PAUSE", "_MAX_PAUSE", "_MIN_RATE")}


@pytest.fixture(autouse=True)
def real_pauses(short_pauses: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes here: they are as in the node."""
    for name, value in REAL.items():
        monkeypatch.setattr(module, name, value)


class Result(NamedTuple):
    accepted: int
    refused: int


class Bucket:
    """A server's limit: so many requests a second, up to `burst` of them at once."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock, self.rate, self._burst = clock, rate, burst
        self._left, self._at = burst, 0.0

    def takes(self) -> bool:
        self._left = min(self._burst, self._left + (self._clock.now - self._at) * self.rate)
        self._at = self._clock.now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Window:
    """A server's limit: so many requests in each `period` (seconds)."""

    def __init__(self, clock: Clock, count: int, period: float) -> None:
        self._clock, self._count, self._period = clock, count, period
        self.rate = count / period
        self._seen = (0, 0)

    def takes(self) -> bool:
        number = int(self._clock.now // self._period)
        count = self._seen[1] if self._seen[0] == number else 0
        self._seen = (number, count + 1)
        return count < self._count


def run(
    rate: Rate, clock: Clock, server: Bucket | Window, seconds: float, at_once: int = 8
) -> Result:
    """Requests without a pause, each answered after 50 ms, for some time."""
    accepted = refused = 0
    end = clock.now + seconds
    running: deque[tuple[float, float]] = deque()  # began, ends
    while clock.now < end:
        wait = rate.wait()
        if wait <= 0 and len(running) < at_once:
            rate.began()
            running.append((clock.now, clock.now + 0.05))
            continue
        times = [running[0][1]] if running else []
        if wait > 0 and len(running) < at_once:
            times.append(clock.now + wait)
        clock.now = max(clock.now, min(times)) + 1e-6
        if running and running[0][1] <= clock.now:
            began, _ = running.popleft()
            if server.takes():
                accepted += 1
                rate.accepted()
            else:
                refused += 1
                rate.refused(began)
    return Result(accepted, refused)


@pytest.mark.parametrize("limit", [1, 2, 5, 10, 25, 50])
@pytest.mark.parametrize("burst", [1.0, 0.5, 2.0])
def test_it_stays_near_the_limit_with_few_refusals(limit: int, burst: float) -> None:
    random.seed(limit)
    clock = Clock()
    clock.now = 0.3
    result = run(Rate(clock), clock, Bucket(clock, limit, max(1.0, burst * limit)), 300)
    assert result.accepted >= 0.55 * 300 * limit
    assert result.refused <= 0.05 * (result.accepted + result.refused) + 10


@pytest.mark.parametrize(("count", "period"), [(5, 1.0), (10, 1.0), (60, 1.0), (100, 10.0)])
def test_limits_of_a_period(count: int, period: float) -> None:
    random.seed(count)
    clock = Clock()
    clock.now = 0.3
    result = run(Rate(clock), clock, Window(clock, count, period), 300)
    assert result.accepted >= 0.5 * 300 * count / period
    assert result.refused <= 0.05 * (result.accepted + result.refused) + 10


def test_without_refusals_there_is_no_limit() -> None:
    clock = Clock()
    rate = Rate(clock)
    for _ in range(1000):
        assert rate.wait() == 0
        rate.began()
        rate.accepted()
    assert not rate.is_limited


def test_a_limit_that_is_gone_is_forgotten() -> None:
    random.seed(1)
    clock = Clock()
    rate = Rate(clock)
    run(rate, clock, Bucket(clock, 5, 5), 60)
    assert rate.is_limited
    run(rate, clock, Bucket(clock, 1000, 1000), 120)
    assert not rate.is_limited


def test_requests_that_ran_at_the_same_time_are_one_refusal() -> None:
    clock = Clock()
    rate = Rate(clock)
    for _ in range(20):
        clock.now += 0.05
        rate.began()
        rate.accepted()
    began = clock.now
    clock.now += 0.05
    rate.refused(began)
    limit = rate.per_second
    assert limit == pytest.approx(10, abs=1)
    for _ in range(15):
        rate.refused(began)
    assert rate.per_second == limit


def test_what_a_server_asks_for_is_waited() -> None:
    clock = Clock()
    rate = Rate(clock)
    rate.began()
    rate.refused(clock.now, 30.0)
    assert rate.wait() == rate.named_pause == rate.blocked == 30
    clock.now += 30
    assert rate.wait() == rate.named_pause == 0
    clock.now += 1
    rate.began()
    rate.refused(clock.now)
    assert rate.named_pause == 0
    assert 0 < rate.blocked <= 5


@pytest.mark.parametrize(("per_second", "is_limited"), [(1, False), (20, True)])
def test_failures_slow_it_down_only_where_much_is_asked(per_second: int, is_limited: bool) -> None:
    clock = Clock()
    rate = Rate(clock)
    for _ in range(100):
        clock.now += 1 / per_second
        rate.began()
        rate.accepted()
    for _ in range(10):
        clock.now += 1 / per_second
        rate.began()
        rate.suspected(clock.now)
    assert rate.is_limited == is_limited
