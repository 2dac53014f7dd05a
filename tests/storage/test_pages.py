"""Pages of new and old files, and the limit of the write-ahead log."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from infernet_edge.storage.database import Database
from infernet_edge.storage.pages import (
    MAX_LOG_BYTES,
    PAGE_BYTES,
    limit_log,
    prepare_file,
)
from tests.test_upgrades import ALL, FIRST


def pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


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


async def test_a_log_that_grew_is_shortened(tmp_path: Path) -> None:
    """By one transaction that is larger than the limit."""
    path = tmp_path / "file.sqlite"
    log = path.with_name(f"{path.name}-wal")

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE much (text BLOB)")
        connection.execute("INSERT INTO much VALUES (zeroblob(?))", (3 * MAX_LOG_BYTES,))

    def add(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO much VALUES (x'00')")

    database = Database(path, ALL)
    await database.open()
    await database.write(fill)
    assert log.stat().st_size > 3 * MAX_LOG_BYTES
    for _ in range(2):
        await database.write(add)
    assert log.stat().st_size <= MAX_LOG_BYTES
    await database.close()
