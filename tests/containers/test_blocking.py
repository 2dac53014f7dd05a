from __future__ import annotations

import asyncio
import threading

import pytest

from infernet_edge.containers.blocking import EngineUnreachable, Threads


async def test_the_result_or_the_error_is_returned() -> None:
    threads = Threads()
    assert await threads.run(5, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(5, divmod, 7, 0)


async def test_a_call_that_hangs_does_not_block_the_loop() -> None:
    threads = Threads()
    release = threading.Event()
    with pytest.raises(EngineUnreachable, match=r"within 0\.05 seconds"):
        await threads.run(0.05, release.wait, 30)
    waiting = asyncio.create_task(threads.wait_idle(30))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    release.set()
    await waiting


async def test_waiting_for_calls_has_a_time_out() -> None:
    threads = Threads()
    release = threading.Event()
    call = asyncio.create_task(threads.run(30, release.wait, 30))
    await asyncio.sleep(0.05)
    call.cancel()
    await threads.wait_idle(0.05)
    release.set()
    await threads.wait_idle(30)


def test_a_call_that_outlives_the_loop_does_no_harm() -> None:
    release, done = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(30)
        done.set()

    async def main() -> None:
        with pytest.raises(EngineUnreachable):
            await Threads().run(0.01, work)

    asyncio.run(main())
    release.set()
    assert done.wait(30)
