"""Pauses between the starts of a container."""

from __future__ import annotations

import asyncio

import msgspec

from infernet_edge.clock import milliseconds
from infernet_edge.containers.supervision.restarts import Restarts
from tests.support.managing import QUICK

TIMING = msgspec.structs.replace(QUICK, restart=1.0, restart_limit=60.0, retry=2.0, crash_loop=300)


async def test_crashes_in_a_row_become_a_loop() -> None:
    restarts = Restarts(TIMING)
    assert [restarts.after_stop(1.0) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 300, 300]
    assert restarts.in_loop
    assert restarts.after_stop(1000.0) == 1.0
    assert not restarts.in_loop


async def test_a_request_ends_the_pause_once() -> None:
    restarts = Restarts(TIMING)
    for _ in range(5):
        restarts.after_stop(1.0)
    pause = asyncio.create_task(restarts.pause(60))
    await asyncio.sleep(0)
    assert restarts.next_start is not None
    assert 59_000 < restarts.next_start - milliseconds() <= 60_000
    restarts.request()
    async with asyncio.timeout(10):
        await pause
    assert not restarts.in_loop
    assert restarts.requested
    # A start that fails after it is not repeated without a pause.
    next_pause = asyncio.create_task(restarts.pause(0.2))
    await asyncio.sleep(0.05)
    assert not next_pause.done()
    await next_pause
    restarts.note_created()
    assert not restarts.requested


async def test_pauses_after_failures_grow_until_a_start() -> None:
    restarts = Restarts(TIMING)
    assert [restarts.after_failure(), restarts.after_failure()] == [2.0, 1.0]
    restarts.note_started()
    assert restarts.after_failure() == 2.0
