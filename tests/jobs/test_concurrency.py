"""The line before a container."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.jobs.concurrency import SlotQueue


async def test_entries_are_taken_first_come_first_served() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert [queue.join(number) for number in range(4)] == [True, False, False, False]
    assert [queue.next() for _ in range(5)] == [0, 1, 2, 3, None]
    assert queue.free == 1


async def test_as_many_workers_as_places() -> None:
    queue: SlotQueue[int] = SlotQueue(3)
    assert [queue.join(number) for number in range(5)] == [True, True, True, False, False]
    assert queue.free == 0
    assert [queue.next() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert [queue.next() for _ in range(3)] == [None, None, None]
    assert queue.free == 3


async def test_a_visitor_takes_a_place_and_gives_it_back() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    turn = queue.enter()
    assert turn.done()
    assert queue.join(1) is False
    assert queue.next() == 1  # the visitor serves the entry that waited
    assert queue.next() is None
    assert queue.free == 1


async def test_a_visitor_waits_for_its_turn() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert queue.join(1)
    turn = queue.enter()
    assert queue.join(2) is False
    assert queue.next() == 1
    assert not turn.done()
    assert queue.next() is None  # the worker ends, the visitor has the place
    assert turn.done()
    assert queue.free == 0
    assert queue.next() == 2
    assert queue.next() is None
    assert queue.free == 1


async def test_a_visitor_that_left_is_passed_over() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert queue.join(1)
    queue.enter().cancel()
    queue.join(2)
    assert [queue.next() for _ in range(3)] == [1, 2, None]
    assert queue.free == 1


async def test_clear_sends_everybody_home() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    queue.join(1)
    queue.join(2)
    turn = queue.enter()
    queue.clear()
    assert queue.next() is None
    with pytest.raises(asyncio.CancelledError):
        await turn
