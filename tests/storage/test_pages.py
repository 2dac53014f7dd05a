"""Pages of new and old files, and a write-ahead log that is longer than what is in it."""

from __future__ import annotations

import resource
import shutil
import sqlite3
from pathlib import Path

import pytest

from infernet_edge.storage.database import Database
from infernet_edge.storage.pages import (
    MAX_LOG_BYTES,
    PAGE_BYTES,
    LogSpace,
    limit_log,
    prepare_file,
)
from tests.test_upgrades import ALL, FIRST

HEAD = 32  # bytes of a log before its first frame


def pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    prepare_file(connection)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    limit_log(connection)
    connection.execute("CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)")
    return connection


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def numbers(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY number")]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return found


async def test_a_new_file_has_small_pages_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    for name, page in (("new", PAGE_BYTES), ("old", 4096)):
        path = tmp_path / name / "file.sqlite"
        path.parent.mkdir()
        if name == "old":
            with sqlite3.connect(path) as connection:
                connection.executescript(FIRST.read_text())
            connection.close()
        database = Database(path, ALL)
        await database.open()
        limit = await database.write(pragma, "wal_autocheckpoint")
        assert await database.read(pragma, "page_size") == page
        assert limit * page == MAX_LOG_BYTES
        await database.close()


def test_a_crash_at_any_commit_loses_nothing(tmp_path: Path) -> None:
    """What was added to the log is no part of it for SQLite."""
    path = tmp_path / "file.sqlite"
    connection, space = opened(path), LogSpace(path)
    for number in range(1, 60):
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        if number % 3:
            space.add()
        crashed = tmp_path / str(number) / "file.sqlite"
        crashed.parent.mkdir()
        for file in (path, log_of(path)):
            shutil.copy(file, crashed.with_name(file.name))
        assert numbers(crashed) == list(range(1, number + 1))
    connection.close()
    assert numbers(path) == list(range(1, 60))
    assert not log_of(path).exists()


def test_the_log_grows_seldom_and_not_without_end(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite"
    connection, space = opened(path), LogSpace(path)
    connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    sizes = []
    for number in range(3 * MAX_LOG_BYTES // PAGE_BYTES):
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        space.add()
        sizes.append(log_of(path).stat().st_size)
    small = [size for size in sizes if size < MAX_LOG_BYTES]
    assert len(set(small)) < len(small) / 20
    assert sizes[-1] < max(4 * MAX_LOG_BYTES, sizes[-2] + 4 * PAGE_BYTES)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    space.add()
    assert log_of(path).stat().st_size == 0
    connection.execute("INSERT INTO numbers VALUES (-1)")
    space.add()
    assert log_of(path).stat().st_size > HEAD + 20 * PAGE_BYTES
    connection.close()


def test_without_a_log_or_space_nothing_happens(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite"
    LogSpace(path).add()
    assert not log_of(path).exists()
    connection, space = opened(path), LogSpace(path)
    size = log_of(path).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        space.add()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log_of(path).stat().st_size == size
    connection.execute("INSERT INTO numbers VALUES (1)")
    connection.close()
    assert numbers(path) == [1]


@pytest.mark.parametrize("page", [512, 4096, 65536])
def test_the_limit_of_the_log_does_not_depend_on_the_pages(tmp_path: Path, page: int) -> None:
    path = tmp_path / "file.sqlite"
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute(f"PRAGMA page_size = {page}")
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
        prepare_file(connection)
        limit_log(connection)
        assert pragma(connection, "page_size") == page
        assert pragma(connection, "wal_autocheckpoint") * page == MAX_LOG_BYTES
    connection.close()
