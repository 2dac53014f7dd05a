"""The threads of the database: which requests they run together."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import NamedTuple

import pytest

from infernet_edge.storage import threads
from infernet_edge.storage.threads import MAX_PER_COMMIT, Request, Thread


class Writer(NamedTuple):
    """A thread with a table of numbers, and the commits that it made so far."""

    thread: Thread
    commits: list[str]

    def insert(self, number: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.thread.submit(Request(_insert, (number,), future))
        return future


def _insert(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("INSERT INTO numbers VALUES (?)", (number,))


def writer(path: Path) -> Writer:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("CREATE TABLE numbers (number INTEGER)")
    commits: list[str] = []
    connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    thread = Thread("writer", connection, commits=threads.Commits(), on_damage=pytest.fail)
    thread.start()
    return Writer(thread, commits)


def stored(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY rowid")]
    finally:
        connection.close()


async def test_what_one_iteration_of_the_loop_submits_is_one_commit(tmp_path: Path) -> None:
    found = writer(tmp_path / "f")
    await asyncio.gather(*(found.insert(number) for number in range(100)))
    assert len(found.commits) == 1
    found.thread.end()
    await asyncio.to_thread(found.thread.join, 10)
    assert stored(tmp_path / "f") == list(range(100))


async def test_what_comes_iteration_by_iteration_is_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when requests of many clients arrive one after the other."""
    monkeypatch.setattr(threads, "_MAX_GATHERING", 60.0)
    found = writer(tmp_path / "f")
    pending = []
    for number in range(50):
        pending.append(found.insert(number))
        await asyncio.sleep(0)
    await asyncio.gather(*pending)
    assert len(found.commits) == 1
    found.thread.end()
    await asyncio.to_thread(found.thread.join, 10)


async def test_gathering_ends_although_each_iteration_brings_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_MAX_GATHERING", 0.0)
    found = writer(tmp_path / "f")
    first = found.insert(0)
    number = 0
    async with asyncio.timeout(30):
        while not first.done():
            number += 1
            found.insert(number)
            await asyncio.sleep(0)
    found.thread.end()
    await asyncio.to_thread(found.thread.join, 10)
    assert stored(tmp_path / "f") == list(range(number + 1))


async def test_what_a_commit_causes_is_the_next_commit(tmp_path: Path) -> None:
    found = writer(tmp_path / "f")

    async def twice(number: int) -> None:
        await found.insert(number)
        await found.insert(number)

    await asyncio.gather(*(twice(number) for number in range(100)))
    assert len(found.commits) == 2
    found.thread.end()
    await asyncio.to_thread(found.thread.join, 10)


async def test_one_alone_is_committed_in_the_next_iteration(tmp_path: Path) -> None:
    found = writer(tmp_path / "f")
    for number in range(5):
        await found.insert(number)
    assert len(found.commits) == 5
    found.thread.end()
    await asyncio.to_thread(found.thread.join, 10)


@pytest.mark.parametrize("count", [0, 1, MAX_PER_COMMIT, 3 * MAX_PER_COMMIT + 1])
async def test_an_ending_thread_runs_what_waits(count: int, tmp_path: Path) -> None:
    found = writer(tmp_path / "f")
    pending = [found.insert(number) for number in range(count)]
    found.thread.end()
    await asyncio.to_thread(found.thread.join, 30)
    assert not found.thread.is_alive()
    await asyncio.gather(*pending)
    assert stored(tmp_path / "f") == list(range(count))
    assert len(found.commits) == -(-count // MAX_PER_COMMIT)
