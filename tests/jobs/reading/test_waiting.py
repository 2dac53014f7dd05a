"""Requests that wait for jobs: one future each, and a bound for their number."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.errors import Unavailable
from infernet_edge.jobs.reading.waiting import MAX_WAITERS, Name, Waiters


class Jobs:
    """Unfinished jobs and those who wait for them."""

    def __init__(self, *names: Name) -> None:
        self.unfinished = set(names)
        self.waiters = Waiters(self.unfinished.__contains__)

    def end(self, name: Name) -> None:
        self.unfinished.discard(name)
        self.waiters.note_end(name)


async def test_a_waiter_waits_for_all_its_jobs_in_any_order() -> None:
    jobs = Jobs(b"a", b"b", "c")
    with jobs.waiters.admitted() as waiter:
        jobs.waiters.wait(waiter, [b"a", b"b", "c", b"unknown", b"a"])
        for name in (b"b", "c"):
            jobs.end(name)
            assert not waiter.ended.done()
        jobs.end(b"a")
        assert waiter.ended.done()


async def test_jobs_that_have_ended_are_not_waited_for() -> None:
    jobs = Jobs()
    with jobs.waiters.admitted() as waiter:
        jobs.waiters.wait(waiter, [b"a", "b"])
        assert waiter.ended.done()


async def test_several_wait_for_one_job() -> None:
    jobs = Jobs(b"a", b"b")
    with (
        jobs.waiters.admitted() as one,
        jobs.waiters.admitted() as two,
        jobs.waiters.admitted() as three,
    ):
        for waiter in (one, two):
            jobs.waiters.wait(waiter, [b"a"])
        jobs.waiters.wait(three, [b"a", b"b"])
        jobs.end(b"a")
        assert [waiter.ended.done() for waiter in (one, two, three)] == [True, True, False]
        jobs.end(b"b")
        assert three.ended.done()


async def test_those_that_leave_are_forgotten() -> None:
    jobs = Jobs(b"a")
    for _ in range(3 * MAX_WAITERS):
        with jobs.waiters.admitted() as waiter:
            jobs.waiters.wait(waiter, [b"a"])
            assert jobs.waiters.registered == 1
    assert (jobs.waiters.count, jobs.waiters.registered) == (0, 0)
    with pytest.raises(asyncio.CancelledError):
        await waiter.ended


async def test_a_waiter_is_registered_once_however_many_jobs_it_asks_for() -> None:
    names = [b"%d" % number for number in range(1000)]
    jobs = Jobs(*names)
    with jobs.waiters.admitted() as waiter:
        jobs.waiters.wait(waiter, names)
        for name in names:
            assert not waiter.ended.done()
            assert jobs.waiters.registered == 1
            jobs.end(name)
        assert waiter.ended.done()


async def test_their_number_is_bounded() -> None:
    jobs = Jobs(b"a")
    jobs.waiters.limit = 2
    with (
        jobs.waiters.admitted(),
        jobs.waiters.admitted(),
        pytest.raises(Unavailable) as refused,
        jobs.waiters.admitted(),
    ):
        pass
    assert refused.value.params == {"limit": 2}
    assert refused.value.headers["retry-after"] == "1"
    with jobs.waiters.admitted():
        assert jobs.waiters.count == 1


async def test_close_ends_all_waits_and_those_to_come() -> None:
    jobs = Jobs(b"a", b"b")
    with jobs.waiters.admitted() as one, jobs.waiters.admitted() as two:
        jobs.waiters.wait(one, [b"a", b"b"])
        jobs.waiters.close()
        assert one.ended.done()
        jobs.waiters.wait(two, [b"b"])
        assert two.ended.done()
        jobs.end(b"a")
    assert jobs.waiters.registered == 0
