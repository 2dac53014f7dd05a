from __future__ import annotations

import random

import pytest

from infernet_edge.chain.rpc.state.batch_size import MAX_PER_REQUEST, BatchSize
from tests.support.clock import Clock


def use(sizes: BatchSize, limit: int, waiting: int = 1000) -> bool:
    """One request to a server with a limit; whether it was accepted."""
    count = min(sizes.size, waiting)
    is_try = sizes.began(count)
    sizes.ended(is_try)
    if count > limit:
        sizes.refused(count)
        return False
    sizes.worked(count)
    return True


@pytest.mark.parametrize("limit", range(1, MAX_PER_REQUEST + 1))
def test_it_finds_the_limit_and_stays_near(limit: int) -> None:
    clock = Clock()
    sizes = BatchSize(clock)
    assert sizes.size == MAX_PER_REQUEST
    refused = sum(not use(sizes, limit) for _ in range(8))
    assert refused <= 7
    for _ in range(550):
        clock.now += 1
        refused += not use(sizes, limit)
        assert 2 * sizes.size >= limit
    assert limit <= sizes.size <= limit + 1 or sizes.size == limit
    assert refused <= 14, "attempts to grow become rare"


def test_a_limit_that_changes_is_followed() -> None:
    chance = random.Random(1)
    clock = Clock()
    sizes = BatchSize(clock)
    for _ in range(30):
        limit = chance.choice((1, 2, 3, 10, 50, 100))
        for _ in range(8):  # at once, when it becomes smaller
            use(sizes, limit)
        assert sizes.size <= limit or not use(sizes, limit)
        clock.now += 8 * 3600
        for _ in range(20):  # slowly, when it becomes larger
            clock.now += 60
            use(sizes, limit)
        assert 2 * sizes.size >= limit


def test_only_one_request_at_a_time_tries_more_than_has_worked() -> None:
    sizes = BatchSize(Clock())
    is_try = sizes.began(100)
    assert sizes.size == 100, "no limit is known"
    sizes.ended(is_try)
    sizes.refused(100)
    sizes.worked(20)
    is_try = sizes.began(sizes.size)
    assert sizes.size == 20
    sizes.ended(is_try)
    assert sizes.size == 50


def test_it_does_not_grow_while_requests_are_smaller() -> None:
    clock = Clock()
    sizes = BatchSize(clock)
    sizes.refused(100)
    for _ in range(100):
        clock.now += 60
        assert use(sizes, 100, waiting=5)
    assert sizes.size == 50


def test_a_call_that_fails_alone_too_costs_no_size() -> None:
    sizes = BatchSize(Clock())
    sizes.worked(60)
    for count in (60, 30, 15, 7, 3):
        sizes.refused(count)
    assert sizes.size < 3
    sizes.restore()
    assert sizes.size == 100
    assert sizes.is_proven(60)
