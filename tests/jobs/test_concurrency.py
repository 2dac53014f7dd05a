"""The queue for the slots of a container."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.jobs.concurrency import SlotQueue


async def test_entries_are_taken_first_come_first_served() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert [queue.put(number) for number in range(4)] == [True, False, False, False]
    assert [queue.next() for _ in range(5)] == [0, 1, 2, 3, None]
    assert queue.free == 1


async def test_as_many_workers_as_slots() -> None:
    queue: SlotQueue[int] = SlotQueue(3)
    assert [queue.put(number) for number in range(5)] == [True, True, True, False, False]
    assert queue.free == 0
    assert [queue.next() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert [queue.next() for _ in range(3)] == [None, None, None]
    assert queue.free == 3


async def test_a_direct_call_acquires_a_slot_and_releases_it() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    slot = queue.acquire()
    assert slot.done()
    assert queue.put(1) is False
    assert queue.next() == 1  # the slot goes to the entry that waited
    assert queue.next() is None
    assert queue.free == 1


async def test_a_direct_call_waits_for_a_slot() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert queue.put(1)
    slot = queue.acquire()
    assert queue.put(2) is False
    assert queue.next() == 1
    assert not slot.done()
    assert queue.next() is None  # the worker ends, the direct call has the slot
    assert slot.done()
    assert queue.free == 0
    assert queue.next() == 2
    assert queue.next() is None
    assert queue.free == 1


async def test_a_cancelled_direct_call_is_skipped() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert queue.put(1)
    queue.acquire().cancel()
    queue.put(2)
    assert [queue.next() for _ in range(3)] == [1, 2, None]
    assert queue.free == 1


async def test_clear_drops_entries_and_cancels_direct_calls() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    queue.put(1)
    queue.put(2)
    slot = queue.acquire()
    queue.clear()
    assert queue.next() is None
    with pytest.raises(asyncio.CancelledError):
        await slot
