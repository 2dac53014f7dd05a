"""The budget of bytes: what is granted, what waits, what is refused."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from infernet_edge.config.model import Server
from infernet_edge.errors import Unavailable
from infernet_edge.memory import SHARES, SMALL, Kind, MemoryBudget, Reservation

MIB = 2**20


@pytest.fixture
def budget() -> MemoryBudget:
    return MemoryBudget(64 * MIB, 16 * MIB)


def waiting(reservation: Reservation, size: int) -> asyncio.Task[None]:
    return asyncio.create_task(reservation.wait_for(size))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_reservation_releases_what_it_took(budget: MemoryBudget) -> None:
    with budget.reserve("requests") as held:
        held.take(MIB)
        held.take(5)
        assert (budget.total, budget.held["requests"], held.size) == (MIB + 5, MIB + 5, MIB + 5)
        held.release(5)
        assert budget.total == MIB
    assert budget.total == 0
    held.release()  # a second time
    assert budget.total == 0
    assert budget.peak == MIB + 5


@pytest.mark.parametrize("kind", list(SHARES))
def test_no_kind_takes_more_than_its_share(budget: MemoryBudget, kind: Kind) -> None:
    held = budget.reserve(kind)
    while held.try_take(MIB):
        pass
    assert held.size <= SHARES[held.kind] * budget.limit
    assert held.size >= 16 * MIB * SHARES[held.kind]


def test_a_request_without_memory_is_refused_with_retry_after(
    budget: MemoryBudget, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    budget.reserve("requests").take(24 * MIB)
    for _ in range(3):
        with pytest.raises(Unavailable) as refused:
            budget.reserve("requests").take(MIB)
    assert refused.value.headers == {"retry-after": "5"}
    assert refused.value.params == {"limit": 64 * MIB}
    assert len(caplog.records) == 1, "once a minute"


def test_what_is_not_necessary_leaves_half_of_its_share(budget: MemoryBudget) -> None:
    spare = [budget.reserve("answers") for _ in range(200)]
    assert sum(each.try_take_spare(MIB // 2) for each in spare) == 16 * MIB // 2 // (MIB // 2)
    budget.reserve("answers").take(3 * MIB)  # the rest is for what has to be answered
    assert not budget.reserve("answers").try_take_spare(1)


def test_large_ones_do_not_block_small_ones(budget: MemoryBudget) -> None:
    for kind in SHARES:
        held = budget.reserve(kind)
        while held.try_take(MIB):
            pass
    for _ in range(20):
        budget.reserve("requests").take(SMALL)
        budget.reserve("answers").take(1000)


async def test_outputs_wait_for_room_in_the_order_in_which_they_came(budget: MemoryBudget) -> None:
    first, *others = [budget.reserve("outputs") for _ in range(4)]
    while first.try_take(MIB):
        pass
    before = budget.reserve("outputs")
    await before.wait_for(16 * MIB)  # what is kept back is for one alone
    tasks = [waiting(each, MIB) for each in others]
    await settled()
    assert budget.is_short
    assert not any(task.done() for task in tasks)
    assert not budget.reserve("outputs").try_take(1), "a later one waits behind them"
    first.release(MIB)
    await settled()
    assert [task.done() for task in tasks] == [True, False, False]
    first.release()
    await settled()
    assert [task.done() for task in tasks] == [True, True, True]
    assert not budget.is_short


async def test_one_that_waits_always_finishes(budget: MemoryBudget) -> None:
    """However many grow side by side: the one that may use the rest ends, and makes room."""
    largest, ended = 16 * MIB, 0

    async def output(number: int) -> None:
        nonlocal ended
        generator = random.Random(number)
        with budget.reserve("outputs") as held:
            while held.size < largest - MIB:
                await held.wait_for(generator.randrange(1, MIB))
                await asyncio.sleep(0)
        ended += 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(output(number) for number in range(40)))
    assert ended == 40
    assert budget.total == 0
    assert not budget.is_short


async def test_one_that_is_cancelled_while_it_waits_leaves_the_queue(budget: MemoryBudget) -> None:
    full = budget.reserve("outputs")
    while full.try_take(MIB):
        pass
    favoured = budget.reserve("outputs")
    await favoured.wait_for(MIB)
    leaving, staying = budget.reserve("outputs"), budget.reserve("outputs")
    gone, stays = waiting(leaving, 30 * MIB), waiting(staying, MIB)
    await settled()
    gone.cancel()
    await settled()
    assert leaving.size == 0
    full.release(MIB)
    await settled()
    assert stays.done()


async def test_work_starts_when_no_other_work_waits(budget: MemoryBudget) -> None:
    full, favoured = budget.reserve("outputs"), budget.reserve("outputs")
    while full.try_take(MIB):
        pass
    await favoured.wait_for(16 * MIB)
    late = waiting(budget.reserve("outputs"), MIB)
    await settled()
    free = asyncio.create_task(budget.until_free())
    await settled()
    assert not free.done()
    full.release()
    await late
    await asyncio.wait_for(free, 1)


def test_a_budget_has_room_for_the_largest_body_and_output() -> None:
    with pytest.raises(ValueError, match="at least"):
        MemoryBudget(3 * MIB - 1, MIB)
    server = Server()
    budget = MemoryBudget(server.min_held_bytes, server.max_call_bytes)
    budget.reserve("requests").take(16 * MIB)
    budget.reserve("outputs").take(8 * MIB)
