"""Copies of a database that is being written."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from infernet_edge.errors import StorageError
from infernet_edge.storage.copying import check_room, copy_database
from infernet_edge.storage.database import Database
from tests.support.disks import small_disk
from tests.support.managing import eventually

MIGRATIONS = {
    "rows": ("CREATE TABLE rows (n INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",),
}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "data" / "file.sqlite", MIGRATIONS)
    await opened.open()
    yield opened
    await opened.close()


def insert(connection: sqlite3.Connection, number: int, size: int = 500) -> None:
    connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * size))


def fill(connection: sqlite3.Connection, mebibytes: int) -> None:
    for number in range(mebibytes):
        insert(connection, -1 - number, 2**20)


def rows(file: Path) -> set[int]:
    connection = sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {row[0] for row in connection.execute("SELECT n FROM rows")}
    finally:
        connection.close()


def until(gate: threading.Event) -> Callable[[int, int], None]:
    """Progress that waits for `gate`."""

    def wait(done: int, total: int) -> None:
        gate.wait(20)

    return wait


def ignore(done: int, total: int) -> None:
    """Progress that nobody needs."""


async def test_a_copy_under_load_has_what_was_committed_before(
    database: Database, tmp_path: Path
) -> None:
    """Commits come in each of its steps, and none of them makes it start again."""
    await database.write(fill, 20)
    committed: list[int] = []
    numbers = itertools.count()
    seen: list[tuple[int, int]] = []

    async def load() -> None:
        while True:
            number = next(numbers)
            await database.write(insert, number)
            committed.append(number)

    def slowly(done: int, total: int) -> None:
        seen.append((done, total))
        time.sleep(0.02)

    loads = [asyncio.create_task(load()) for _ in range(4)]
    await eventually(lambda: len(committed) > 50)
    target = tmp_path / "copy"
    before = set(committed)
    await database.copy(target, keep_free=0, on_progress=slowly)
    after = set(committed)
    for each in loads:
        each.cancel()
    await asyncio.gather(*loads, return_exceptions=True)
    found = {number for number in rows(target) if number >= 0}
    assert before <= found
    assert len(after - before) > 50  # writes went on
    assert len(found) < len(after)  # what came later is not in it
    totals = {total for _, total in seen}
    assert len(totals) == 1
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == target.stat().st_size == seen[-1][1]
    assert target.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("copy")] == ["copy"]


async def test_no_write_waits_long_for_a_copy(database: Database, tmp_path: Path) -> None:
    await database.write(fill, 64)
    task = asyncio.create_task(database.copy(tmp_path / "copy", keep_free=0, on_progress=ignore))
    slowest, number = 0.0, 0
    while not task.done():
        began = time.monotonic()
        await database.write(insert, number)
        slowest = max(slowest, time.monotonic() - began)
        number += 1
    await task
    assert slowest < 3  # the machine of the tests is slow, too


async def test_space_is_released_at_once_during_a_copy(database: Database, tmp_path: Path) -> None:
    """A checkpoint that waits for the copy would delay all writes by the busy timeout."""
    await database.write(fill, 8)
    gate = threading.Event()
    task = asyncio.create_task(
        database.copy(tmp_path / "copy", keep_free=0, on_progress=until(gate))
    )
    await eventually((tmp_path / "copy").exists)
    await asyncio.sleep(0.1)
    await database.write(lambda connection: connection.execute("DELETE FROM rows"))
    began = time.monotonic()
    await database.release_space()
    assert time.monotonic() - began < 3
    gate.set()
    await task
    assert len(rows(tmp_path / "copy")) == 8
    await database.release_space()
    assert database.path.stat().st_size < 2**20


async def test_only_one_copy_at_a_time(database: Database, tmp_path: Path) -> None:
    await database.write(fill, 4)
    gate = threading.Event()
    first = asyncio.create_task(
        database.copy(tmp_path / "one", keep_free=0, on_progress=until(gate))
    )
    await eventually((tmp_path / "one").exists)
    with pytest.raises(StorageError, match="Another backup is being made"):
        await database.copy(tmp_path / "two", keep_free=0, on_progress=ignore)
    gate.set()
    await first
    await database.copy(tmp_path / "two", keep_free=0, on_progress=ignore)
    assert rows(tmp_path / "one") == rows(tmp_path / "two")


async def test_a_copy_whose_caller_is_cancelled_leaves_nothing(
    database: Database, tmp_path: Path
) -> None:
    await database.write(fill, 8)
    copied = threading.Event()

    def slowly(done: int, total: int) -> None:
        copied.set()
        time.sleep(0.1)

    task = asyncio.create_task(database.copy(tmp_path / "copy", keep_free=0, on_progress=slowly))
    assert await asyncio.to_thread(copied.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    await database.copy(tmp_path / "copy", keep_free=0, on_progress=ignore)


async def test_closing_ends_a_copy(database: Database, tmp_path: Path) -> None:
    await database.write(fill, 8)
    copied = threading.Event()

    def slowly(done: int, total: int) -> None:
        copied.set()
        time.sleep(0.1)

    task = asyncio.create_task(database.copy(tmp_path / "copy", keep_free=0, on_progress=slowly))
    assert await asyncio.to_thread(copied.wait, 20)
    await database.close()
    with pytest.raises(StorageError, match="was stopped"):
        await task
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    assert not database.path.with_name("file.sqlite-wal").exists()
    with pytest.raises(StorageError, match="closed"):
        await database.copy(tmp_path / "copy", keep_free=0, on_progress=ignore)


async def test_a_damaged_database_is_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "file.sqlite"
    database = Database(source, MIGRATIONS)
    await database.open()
    await database.write(fill, 2)
    for number in range(200):
        await database.write(insert, number)
    await database.close()
    with source.open("r+b") as file:
        file.seek(source.stat().st_size // 2)
        file.write(b"\xff" * 2**20)
    with pytest.raises(StorageError, match=r"damaged.*infernet-edge doctor"):
        copy_database(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_a_disk_without_room_is_left_as_it_was(database: Database, tmp_path: Path) -> None:
    await database.write(fill, 8)
    folder = tmp_path / "small"
    with small_disk(folder, 36 * 2**20):
        with pytest.raises(StorageError, match=r"not enough space.*Free \d+ MiB"):
            await database.copy(folder / "copy", keep_free=0, on_progress=ignore)
        assert list(folder.iterdir()) == []
    with small_disk(folder, 48 * 2**20):
        with pytest.raises(StorageError, match="not enough space"):
            await database.copy(folder / "copy", keep_free=2**40, on_progress=ignore)
        await database.copy(folder / "copy", keep_free=0, on_progress=ignore)


async def test_a_disk_that_gets_full_meanwhile_ends_the_copy(
    database: Database, tmp_path: Path
) -> None:
    await database.write(fill, 8)
    folder = tmp_path / "small"
    with small_disk(folder, 48 * 2**20):

        def fill_disk(done: int, total: int) -> None:
            with (folder / "other").open("wb") as other:
                other.truncate(0)
                other.write(b"x" * 2**20 * 16)

        with pytest.raises(StorageError, match="not enough space"):
            await database.copy(folder / "copy", keep_free=0, on_progress=fill_disk)
        assert [each.name for each in folder.iterdir()] == ["other"]


async def test_a_file_that_is_there_is_not_replaced(database: Database, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(StorageError, match="cannot be made: File exists"):
        await database.copy(tmp_path / "copy", keep_free=0, on_progress=ignore)
    assert (tmp_path / "copy").read_text() == "mine"
    with pytest.raises(StorageError, match="cannot be used"):
        check_room(tmp_path / "nowhere", 1)
