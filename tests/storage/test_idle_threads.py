"""The threads of the database: the checkpoint of one that is idle."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.storage import threads
from infernet_edge.storage.database import Database
from tests.support.managing import eventually

MIGRATIONS = {"numbers": ("CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT",)}
SHORT = 0.1  # seconds


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(threads, "_IDLE_TIME", SHORT)
    opened = Database(tmp_path / "data" / "file.sqlite", MIGRATIONS)
    await opened.open()
    yield opened
    await opened.close()


def insert(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("INSERT INTO numbers VALUES (?)", (number,))


def in_main_file(database: Database, folder: Path) -> list[int]:
    """What `cp` of the main file has: in another process, since closing it drops our locks."""
    copy = folder / "copy.sqlite"
    subprocess.run(["cp", database.path, copy], timeout=20, check=True)
    connection = sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)
    try:
        return [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]
    except sqlite3.DatabaseError:  # not even the table, or a checkpoint is running
        return []
    finally:
        connection.close()


async def statements_of(database: Database) -> list[str]:
    """All that the writer executes from now on."""
    found: list[str] = []
    await database.write(lambda connection: connection.set_trace_callback(found.append))
    return found


async def test_the_main_file_of_an_idle_database_has_everything(
    database: Database, tmp_path: Path
) -> None:
    await asyncio.gather(*(database.write(insert, number) for number in range(100)))
    await eventually(lambda: in_main_file(database, tmp_path) == list(range(100)))
    await database.write(insert, 100)
    await eventually(lambda: in_main_file(database, tmp_path) == list(range(101)))


async def test_an_idle_database_does_nothing_without_a_change(database: Database) -> None:
    await database.write(insert, 1)
    statements = await statements_of(database)
    await eventually(lambda: any("wal_checkpoint" in each for each in statements))
    await database.write(lambda connection: connection.execute("DELETE FROM numbers WHERE n = 2"))
    await database.read(lambda connection: connection.execute("SELECT 1").fetchone())
    statements.clear()
    await asyncio.sleep(5 * SHORT)
    assert statements == []


async def test_there_is_no_checkpoint_while_writes_come(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_IDLE_TIME", 2.0)
    statements = await statements_of(database)
    began = time.monotonic()
    number = 0
    while time.monotonic() < began + 3.0:
        await database.write(insert, number := number + 1)
        await asyncio.sleep(SHORT)
    assert not [each for each in statements if "wal_checkpoint" in each]


async def test_what_a_reader_holds_back_follows(database: Database, tmp_path: Path) -> None:
    await database.write(insert, 1)
    await eventually(lambda: in_main_file(database, tmp_path) == [1])
    reader = sqlite3.connect(database.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM numbers").fetchall()
    await database.write(insert, 2)
    await database.write(insert, 3)
    await asyncio.sleep(3 * SHORT)
    assert in_main_file(database, tmp_path) == [1]
    reader.execute("COMMIT")
    reader.close()
    await eventually(lambda: in_main_file(database, tmp_path) == [1, 2, 3])


async def test_a_checkpoint_that_fails_is_logged_and_tried_again_after_the_next_write(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A disk error of a checkpoint cannot be caused without one of the commit before."""
    caplog.set_level(logging.INFO, "infernet_edge")
    await database.write(insert, 1)
    await eventually(lambda: in_main_file(database, tmp_path) == [1])

    def refuse(action: int, first: str | None, *more: object) -> int:
        is_checkpoint = action == sqlite3.SQLITE_PRAGMA and first == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if is_checkpoint else sqlite3.SQLITE_OK

    await database.write(lambda connection: connection.set_authorizer(refuse))
    await database.write(insert, 2)
    await eventually(lambda: [each.getMessage() for each in caplog.records] == ["storage.failed"])
    await asyncio.sleep(3 * SHORT)
    assert len(caplog.records) == 1
    await database.write(lambda connection: connection.set_authorizer(None))
    await database.write(insert, 3)
    await eventually(lambda: in_main_file(database, tmp_path) == [1, 2, 3])


async def test_closing_an_idle_database_does_not_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_IDLE_TIME", 60)
    await database.write(insert, 1)
    async with asyncio.timeout(5):
        await database.close()
