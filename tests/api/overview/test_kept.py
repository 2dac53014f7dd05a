"""Values that take a moment to read."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.api.overview.kept import Kept


class Read:
    def __init__(self) -> None:
        self.count = 0
        self.wait = 0.0
        self.fails = False

    async def __call__(self) -> int:
        self.count += 1
        await asyncio.sleep(self.wait)
        if self.fails:
            raise ValueError("a defect")
        return self.count


async def test_it_is_read_once_in_a_while() -> None:
    read = Read()
    kept = Kept("x", read, 0, seconds=0.05)
    assert await asyncio.gather(*(kept.get() for _ in range(10))) == [1] * 10
    await asyncio.sleep(0.06)
    assert await kept.get() == 2


async def test_nobody_waits_long() -> None:
    read = Read()
    kept = Kept("x", read, 0, seconds=60, patience=0.02)
    read.wait = 0.1
    assert await kept.get() == 0
    assert await kept.get() == 0
    await asyncio.sleep(0.12)
    assert await kept.get() == 1
    assert read.count == 1


async def test_a_failure_is_logged_and_keeps_the_value(caplog: pytest.LogCaptureFixture) -> None:
    read = Read()
    kept = Kept("x", read, 0, seconds=0.0)
    assert await kept.get() == 1
    read.fails = True
    assert await kept.get() == 1
    assert "overview.read_failed" in caplog.text
    read.fails = False
    assert await kept.get() == 3


async def test_a_read_ends_with_the_node() -> None:
    read = Read()
    kept = Kept("x", read, 0, seconds=60, patience=0.01)
    read.wait = 60
    await kept.get()
    await kept.close()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert "reading x" not in names
