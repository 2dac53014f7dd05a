from __future__ import annotations

import random

import pytest

from infernet_edge.chain.rpc.errors import CallNotAnswered, Cause, EndpointFailure
from infernet_edge.chain.rpc.waiting import Batch, Slots, Waiting, WaitingCalls


def batch(count: int, *, priority: bool = False, once: bool = False) -> Batch:
    return Batch([("echo", [n]) for n in range(count)], priority=priority, once=once)


def take(
    queue: WaitingCalls, size: int, once_size: int = 1, priority: bool = False
) -> list[Waiting]:
    return queue.take(size, once_size=once_size, only_priority=priority)


async def test_every_call_is_taken_once_within_the_limits() -> None:
    chance = random.Random(5)
    for _ in range(100):
        queue = WaitingCalls()
        batches = [
            batch(chance.randint(1, 9), priority=chance.random() < 0.2, once=chance.random() < 0.2)
            for _ in range(20)
        ]
        for each in batches:
            queue.add(each.waiting)
            for waiting in each.waiting:
                waiting.limit = chance.choice((1, 3, 100))
        left = batches.pop(chance.randrange(20))
        queue.discard(left)
        expected = {id(waiting) for each in batches for waiting in each.waiting}
        while len(queue):
            taken = take(queue, chance.randint(1, 10), once_size=chance.choice((1, 4)))
            assert 1 <= len(taken) <= 10
            assert len(taken) <= min(waiting.limit for waiting in taken)
            if any(waiting.batch.once for waiting in taken):
                assert len(taken) <= 4
            if chance.random() < 0.2:
                queue.put_back(taken)
            else:
                expected -= {id(waiting) for waiting in taken}
        assert not expected


async def test_polls_of_the_head_do_not_stop_all_others() -> None:
    queue = WaitingCalls()
    queue.add(batch(5).waiting)
    order = []
    for _ in range(4):
        queue.add(batch(1, priority=True).waiting)
        order.append(take(queue, 1)[0].batch.priority)
    assert order == [True, False, True, False]
    assert [each.batch.priority for each in take(queue, 100)] == [True, True, False, False, False]


async def test_the_last_slot_is_for_the_head() -> None:
    queue, slots = WaitingCalls(), Slots(2)
    queue.add(batch(3).waiting)
    slots.take()
    assert slots.is_free(priority=True)
    assert not slots.is_free(priority=False)
    assert take(queue, 10, priority=True) == []
    queue.add(batch(1, priority=True).waiting)
    assert take(queue, 10, priority=True)[0].batch.priority


async def test_what_is_put_back_comes_next_in_the_same_order() -> None:
    queue = WaitingCalls()
    queue.add(batch(6).waiting)
    taken = take(queue, 4)
    queue.put_back(taken)
    assert [each.position for each in take(queue, 6)] == [0, 1, 2, 3, 4, 5]


async def test_answers_are_kept_beside_failures() -> None:
    made = batch(3)
    made.waiting[2].answer("0x2")
    made.waiting[0].answer(None)
    made.waiting[1].fail(EndpointFailure("oh", Cause.RATE))
    assert made.is_closed
    first, second, third = made.result()
    assert (first, third) == (None, "0x2")
    assert isinstance(second, CallNotAnswered)
    assert second.is_transient


async def test_without_any_answer_it_fails() -> None:
    made = batch(2)
    for each in made.waiting:
        each.fail(EndpointFailure("oh", Cause.RATE))
    with pytest.raises(EndpointFailure, match="oh"):
        made.result()


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infernet_edge.chain.rpc.waiting.MAX_WAITING", 10)
    queue = WaitingCalls()
    queue.add(batch(8).waiting)
    assert queue.has_room(2)
    assert not queue.has_room(3)
    assert len(list(queue.drain())) == 8
    assert not len(queue)
