from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from infernet_edge.hardware.reading import Reading


@pytest.fixture(autouse=True)
def log_reaches_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("infernet_edge"), "propagate", True)


class Counter:
    """A read that counts its calls and records their threads."""

    def __init__(self) -> None:
        self.calls = 0
        self.thread = ""

    def __call__(self) -> int:
        self.calls += 1
        self.thread = threading.current_thread().name
        return self.calls


async def test_a_value_is_read_once_in_a_thread() -> None:
    counter = Counter()
    reading = Reading("counter", counter, 0, timeout=30)

    assert await asyncio.gather(*(reading.get() for _ in range(5))) == [1] * 5
    assert await reading.get() == 1
    assert counter.thread == "hardware-counter"


async def test_a_value_is_read_again_when_it_is_stale() -> None:
    reading = Reading("counter", Counter(), 0, keep=0, timeout=30)

    assert await reading.get() == 1
    assert await reading.get() == 2


async def test_a_slow_read_is_not_waited_for_and_still_counts_when_it_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = threading.Event()
    calls = []

    def slow() -> str:
        calls.append(1)
        released.wait(30)
        return "late"

    reading = Reading("slow", slow, "unknown", keep=0, timeout=0.05)
    try:
        assert await reading.get() == "unknown"
        assert await reading.get() == "unknown"
        assert len(calls) == 1, "one thread at a time"
        assert [record.getMessage() for record in caplog.records] == ["hardware.read_timed_out"]
    finally:
        released.set()
    async with asyncio.timeout(30):
        while await reading.get() != "late":
            await asyncio.sleep(0.01)


async def test_a_failed_read_leaves_the_last_value(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def read() -> str:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no such chip")
        return f"value {len(calls)}"

    reading = Reading("chip", read, "unknown", keep=0, timeout=30)

    assert await reading.get() == "value 1"
    assert await reading.get() == "value 1"
    assert await reading.get() == "value 3"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.__dict__["fields"] == {"reading": "chip", "error": "ValueError: no such chip"}


async def test_a_caller_may_leave() -> None:
    released = threading.Event()
    reading = Reading("slow", lambda: released.wait(30), False, timeout=30)
    caller = asyncio.create_task(reading.get())
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    released.set()
    assert await reading.get()


def test_a_loop_may_end_before_the_read(recwarn: pytest.WarningsRecorder) -> None:
    released = threading.Event()
    reading = Reading("slow", lambda: released.wait(30), False, timeout=30)

    async def leave() -> None:
        task = asyncio.create_task(reading.get())
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(leave())
    (thread,) = (t for t in threading.enumerate() if t.name == "hardware-slow")
    assert thread.daemon
    released.set()
    thread.join(30)
    assert not list(recwarn)


async def test_what_cannot_be_read_is_logged_once_for_each_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Exception | None] = [OSError("a"), OSError("a"), OSError("b"), None, OSError("b")]

    def read() -> str:
        if error := errors.pop(0):
            raise error
        return "well"

    reading = Reading("it", read, "unknown", keep=0, timeout=30)
    for _ in range(5):
        await reading.get()
    logged = [record for record in caplog.records if record.message == "hardware.read_failed"]
    assert [record.__dict__["fields"]["error"] for record in logged] == [
        "OSError: a",
        "OSError: b",
        "OSError: b",
    ]
