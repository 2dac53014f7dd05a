"""Readers of logs, without Podman; with it see tests/api/endpoints/test_container_logs.py."""

from __future__ import annotations

import asyncio
import json

import pytest

from infernet_edge.containers.operating import logs
from infernet_edge.containers.operating.lines import Line
from infernet_edge.containers.operating.logs import MAX_RATE, MAX_WAITING, LineRate, LineReader


async def test_a_reader_takes_what_waits() -> None:
    reader = LineReader(10)
    assert await reader.take(0.01) == b""
    taking = asyncio.create_task(reader.take(10))
    await asyncio.sleep(0)
    reader.put([b"a\n", b"b\n"])
    assert await taking == b"a\nb\n"
    assert await reader.take(0.01) == b""
    reader.end()
    assert await reader.take(10) is None


async def test_a_slow_reader_is_dropped() -> None:
    reader = LineReader(10)
    for _ in range(MAX_WAITING // 1000):
        reader.put([b"x" * 1000])
    assert len(await reader.take(1) or b"") > MAX_WAITING - 1000
    for _ in range(MAX_WAITING // 1000 + 1):
        reader.put([b"x" * 1000])
    assert await reader.take(1) is None


async def test_lines_beyond_the_rate_are_counted() -> None:
    published: list[bytes] = []
    rate = LineRate(published.extend)
    old, new = Line(b"old\n", 1), Line(b"new\n", 5)
    passed = rate.passed([old] * 1000 + [new] * (MAX_RATE + 50), 3)
    assert passed == [b"old\n"] * 1000 + [b"new\n"] * MAX_RATE
    assert rate.passed([new] * 25, 3) == []
    assert published == []
    async with asyncio.timeout(30):
        while not published:
            await asyncio.sleep(0.02)
    assert [json.loads(each) for each in published] == [{"dropped": 75}]
    assert rate.passed([new], 3) == [b"new\n"]
    rate.flush()
    assert len(published) == 1


async def test_the_number_comes_before_the_next_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    published: list[bytes] = []
    rate = LineRate(published.extend)
    new = Line(b"new\n", 5)
    rate.passed([new] * (MAX_RATE + 3), 0)
    assert rate.excess == 0
    now += 1.5
    assert rate.passed([new], 0) == [b'{"dropped":3}\n', b"new\n"]
    rate.passed([new] * logs.MAX_PARSED, 0)
    assert 0 < rate.excess <= 1
    rate.flush()
