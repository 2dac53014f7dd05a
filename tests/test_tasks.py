"""Background tasks, and what happens when they fail."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from infernet_edge.tasks import Background, BlockingReads, Deadline, TaskSet
from tests.support.managing import eventually


class Work:
    """Fails a given number of times, then runs until it is cancelled."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error
        self.started = 0
        self.ended = 0

    async def __call__(self) -> None:
        self.started += 1
        try:
            if self.started <= self.failures:
                if self.error is not None:
                    raise self.error
                return
            await asyncio.Event().wait()
        finally:
            self.ended += 1


@pytest.mark.parametrize("error", [RuntimeError("a defect"), AssertionError("broken"), None])
async def test_what_fails_is_logged_and_restarted(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    background = Background(first_pause=0.01, max_pause=0.02, stable=0.1)
    work = Work(3, error)
    background.supervise("counting", work)
    await eventually(lambda: work.started == 4)
    (problem,) = background.problems
    assert "'counting'" in problem
    assert (str(error) if error else "it returned") in problem
    failures = [record for record in caplog.records if record.name == "infernet_edge.tasks"]
    assert len(failures) == 3
    assert all(record.exc_info for record in failures) == (error is not None)
    await eventually(lambda: not background.problems)
    assert work.started == 4
    await background.stop()
    assert work.ended == 4


async def test_stopped_tasks_have_ended(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()
    first, second = Work(0), Work(0)
    background.supervise("first", first)
    background.supervise("second", second)
    await asyncio.sleep(0)
    await background.stop("first")
    assert (first.ended, second.ended) == (1, 0)
    background.supervise("first", first)
    with pytest.raises(ValueError, match="already"):
        background.supervise("second", second)
    await asyncio.sleep(0)
    await background.stop()
    assert (first.ended, second.ended) == (2, 1)
    assert caplog.records == []
    assert background.problems == []


async def test_a_task_is_stopped_while_it_pauses() -> None:
    background = Background(first_pause=100, max_pause=100)
    work = Work(9, RuntimeError("x"))
    background.supervise("failing", work)
    await eventually(lambda: bool(background.problems))
    await background.stop()
    assert background.problems == []
    assert work.started == 1


async def test_pauses_grow() -> None:
    background = Background(first_pause=0.02, max_pause=0.04)
    work = Work(100, RuntimeError("x"))
    background.supervise("failing", work)
    await asyncio.sleep(0.5)
    await background.stop()
    assert 3 <= work.started <= 0.5 / 0.04 + 3


async def test_a_cancelled_inner_task_is_a_failure_too() -> None:
    background = Background(first_pause=0.01, max_pause=0.02, stable=0.05)
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            inner = asyncio.get_running_loop().create_future()
            inner.cancel()
            await inner
        await asyncio.Event().wait()

    background.supervise("inner", work)
    await eventually(lambda: runs == 2)
    await eventually(lambda: not background.problems)
    await background.stop()


async def test_a_defect_in_one_task_of_a_set_leaves_the_others() -> None:
    errors: list[BaseException] = []
    tasks = TaskSet(errors.append)
    broken, running = Work(1, RuntimeError("a defect")), Work(0)
    tasks.start(broken())
    tasks.start(running())
    await tasks.wait(0.05)
    assert [str(error) for error in errors] == ["a defect"]
    assert (broken.ended, running.ended) == (1, 0)
    await tasks.stop()
    assert running.ended == 1
    assert len(errors) == 1  # being cancelled is no defect


async def test_blocking_reads_run_one_at_a_time() -> None:
    reads = BlockingReads(5.0)
    active = most = 0

    def read() -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        time.sleep(0.02)
        active -= 1
        return most

    assert await asyncio.gather(*(reads.run(read) for _ in range(5))) == [1] * 5
    with pytest.raises(ValueError, match="invalid literal"):
        await reads.run(lambda: int("x"))


async def test_a_blocking_read_that_hangs() -> None:
    """Further ones do not take another thread, and run when it has ended."""
    reads, release = BlockingReads(0.1), threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await reads.run(release.wait)
    assert sum(each.name == "blocking read" for each in threading.enumerate()) == 1
    release.set()
    assert await reads.run(lambda: 7) == 7


@pytest.mark.parametrize("is_answered", [True, False])
async def test_an_answer_extends_the_deadline_of_those_that_wait(is_answered: bool) -> None:
    deadline = Deadline(1.0)
    entered = asyncio.Event()

    async def wait() -> None:
        async with deadline.limiting():
            entered.set()
            for _ in range(10):
                await asyncio.sleep(0)

    waiting = asyncio.create_task(wait())
    await entered.wait()
    time.sleep(1.1)  # nothing else of the loop runs
    if is_answered:
        deadline.extend()
        await waiting
    else:
        with pytest.raises(TimeoutError):
            await waiting
