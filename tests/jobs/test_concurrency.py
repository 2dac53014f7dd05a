"""The line before a container."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.jobs.concurrency import Lane


async def test_entries_are_taken_first_come_first_served() -> None:
    lane: Lane[int] = Lane(1)
    assert [lane.join(number) for number in range(4)] == [True, False, False, False]
    assert [lane.next() for _ in range(5)] == [0, 1, 2, 3, None]
    assert lane.free == 1


async def test_as_many_workers_as_places() -> None:
    lane: Lane[int] = Lane(3)
    assert [lane.join(number) for number in range(5)] == [True, True, True, False, False]
    assert lane.free == 0
    assert [lane.next() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert [lane.next() for _ in range(3)] == [None, None, None]
    assert lane.free == 3


async def test_a_visitor_takes_a_place_and_gives_it_back() -> None:
    lane: Lane[int] = Lane(1)
    turn = lane.enter()
    assert turn.done()
    assert lane.join(1) is False
    assert lane.next() == 1  # the visitor serves the entry that waited
    assert lane.next() is None
    assert lane.free == 1


async def test_a_visitor_waits_for_its_turn() -> None:
    lane: Lane[int] = Lane(1)
    assert lane.join(1)
    turn = lane.enter()
    assert lane.join(2) is False
    assert lane.next() == 1
    assert not turn.done()
    assert lane.next() is None  # the worker ends, the visitor has the place
    assert turn.done()
    assert lane.free == 0
    assert lane.next() == 2
    assert lane.next() is None
    assert lane.free == 1


async def test_a_visitor_that_left_is_passed_over() -> None:
    lane: Lane[int] = Lane(1)
    assert lane.join(1)
    lane.enter().cancel()
    lane.join(2)
    assert [lane.next() for _ in range(3)] == [1, 2, None]
    assert lane.free == 1


async def test_clear_sends_everybody_home() -> None:
    lane: Lane[int] = Lane(1)
    lane.join(1)
    lane.join(2)
    turn = lane.enter()
    lane.clear()
    assert lane.next() is None
    with pytest.raises(asyncio.CancelledError):
        await turn
