"""The queue for the slots of a container."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.jobs.concurrency import MAX_POSITION, SlotQueue


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


async def test_higher_priorities_come_first() -> None:
    queue: SlotQueue[str] = SlotQueue(1)
    for priority, entry in ((0, "a"), (-10, "b"), (10, "c"), (0, "d"), (10, "e")):
        queue.put(entry, priority)
    assert [queue.next() for _ in range(6)] == ["c", "e", "a", "d", "b", None]


async def test_direct_calls_have_priorities() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert queue.put(1)
    low, high = queue.acquire(-1), queue.acquire(5)
    assert queue.next() is None  # the slot of the worker goes to the call with priority
    assert high.done()
    assert not low.done()


async def test_an_entry_is_removed() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    for number in range(4):
        queue.put(number, number % 2)
    assert queue.remove(1)
    assert not queue.remove(1)
    assert queue.remove(2)
    assert [queue.next() for _ in range(3)] == [3, 0, None]


async def test_the_positions_of_entries() -> None:
    queue: SlotQueue[str] = SlotQueue(1)
    for entry in "abc":
        queue.put(entry)
    queue.put("first", 1)
    waiting = queue.acquire()
    assert queue.positions(["c", "first", waiting]) == {"first": 1, "c": 4, waiting: 5}
    assert queue.positions(["unknown", "b"]) == {"b": 3}
    assert queue.positions([]) == {}
    queue.remove("b")
    assert queue.positions(["b", "c"]) == {"c": 3}


async def test_positions_far_behind_are_not_counted() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    for number in range(MAX_POSITION + 1):
        queue.put(number)
    assert queue.positions([MAX_POSITION - 1, MAX_POSITION]) == {MAX_POSITION - 1: MAX_POSITION}


async def test_direct_calls_that_were_cancelled_do_not_fill_the_queue() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    queue.put(1)
    for _ in range(100):
        queue.acquire().cancel()
    queue.put(2)
    await asyncio.sleep(0)
    assert queue.positions([2]) == {2: 2}


async def test_fewer_slots_let_those_that_are_used_end() -> None:
    queue: SlotQueue[int] = SlotQueue(2)
    assert [queue.put(number) for number in range(4)] == [True, True, False, False]
    assert [queue.next(), queue.next()] == [0, 1]
    assert queue.resize(0) == []
    direct = queue.acquire()
    assert queue.put(4) is False
    assert [queue.next(), queue.next()] == [None, None]
    assert (queue.free, queue.slots, queue.waiting, direct.done()) == (0, 0, 4, False)
    assert queue.resize(1) == [2]
    assert [queue.next() for _ in range(2)] == [3, None]
    assert direct.done()  # it has the slot now
    assert queue.next() == 4
    assert queue.next() is None
    assert queue.free == 1


async def test_more_slots_are_taken_at_once() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    assert queue.put(0)
    direct, cancelled = queue.acquire(), queue.acquire()
    queue.put(1)
    cancelled.cancel()
    assert queue.next() == 0
    assert queue.resize(5) == [1]
    assert direct.done()
    assert (queue.free, queue.waiting) == (2, 0)


async def test_nothing_gets_a_slot_of_a_closed_queue() -> None:
    queue: SlotQueue[int] = SlotQueue(2)
    assert queue.put(1)
    assert queue.next() == 1
    queue.close()
    assert (queue.used, queue.slots, queue.waiting) == (1, 2, 0)
    assert queue.put(2) is False
    slot, cancelled = queue.acquire(), queue.acquire()
    cancelled.cancel()
    await asyncio.sleep(0)
    assert (queue.used, queue.waiting) == (1, 2)
    assert queue.next() is None  # the worker of 1 ends
    assert (queue.used, slot.done()) == (0, False)
    assert queue.resize(3) == []
    assert (queue.used, queue.slots) == (0, 3)
    assert queue.reopen() == [2]
    assert slot.done()
    assert (queue.used, queue.waiting) == (2, 0)
    assert queue.reopen() == []
    assert [queue.next() for _ in range(2)] == [None, None]
    assert (queue.used, queue.free) == (0, 3)


async def test_positions_are_kept_while_it_is_closed() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    queue.close()
    for number in range(3):
        queue.put(number)
    queue.put(3, priority=1)
    assert queue.positions([0, 3]) == {0: 2, 3: 1}
    assert queue.remove(0)
    assert queue.reopen() == [3]
    assert [queue.next() for _ in range(3)] == [1, 2, None]


async def test_changes_are_reported() -> None:
    queue: SlotQueue[int] = SlotQueue(2)
    seen: list[tuple[int, int]] = []
    queue.on_change = lambda: seen.append((queue.used, queue.waiting))
    assert queue.put(1)
    assert queue.put(2)
    assert [queue.next() for _ in range(3)] == [1, 2, None]
    assert seen == []  # one slot is still in use
    queue.next()
    assert seen.pop() == (0, 0)
    queue.close()
    queue.put(3)
    assert seen.pop() == (0, 1)
    slot = queue.acquire()
    assert seen.pop() == (0, 2)
    slot.cancel()
    await asyncio.sleep(0)
    assert seen.pop() == (0, 1)
    queue.remove(3)
    assert seen.pop() == (0, 0)
    queue.put(4)
    assert queue.reopen() == [4]
    seen.clear()
    queue.close()
    assert queue.next() is None  # the last one in it has ended
    assert seen == [(0, 0)]
