from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from infernet_edge.doctor import database
from infernet_edge.doctor.finding import Finding
from infernet_edge.storage.database import Database
from tests.support.examining import finding
from tests.support.running import configuration, running

_TABLE = {"test": ("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",)}


async def check(folder: Path) -> Finding:
    return await finding(database, configuration(folder))


async def written(folder: Path, rows: int = 2000) -> Path:
    """The file of a node that has stopped."""
    path = configuration(folder).database_path
    opened = Database(path, _TABLE)
    await opened.open()
    await opened.write(_fill, rows)
    await opened.close()
    return path


def _fill(connection: sqlite3.Connection, rows: int) -> None:
    connection.executemany("INSERT INTO t (text) VALUES (?)", [("x" * 100,)] * rows)


async def test_there_is_none_yet(tmp_path: Path) -> None:
    found = await check(tmp_path)
    assert found.level == "ok"
    assert sqlite3.sqlite_version in found.text
    assert "will be made" in found.text
    assert not (tmp_path / "data").exists()


async def test_a_sound_one_is_left_as_it_is(tmp_path: Path) -> None:
    path = await written(tmp_path)
    before = path.read_bytes()
    files = sorted(path.parent.iterdir())
    found = await check(tmp_path)
    assert found.level == "ok"
    assert sorted(path.parent.iterdir()) == files
    assert found.text.endswith("0.2 MB without damage")
    assert path.read_bytes() == before


async def test_a_damaged_one(tmp_path: Path) -> None:
    path = await written(tmp_path)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(os.urandom(8 * 4096))
    found = await check(tmp_path)
    assert found.level == "problem"
    assert f"{path} is damaged" in found.text
    assert "start the node" in found.remedy
    assert found.command == ""  # it is not a service here


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = await written(tmp_path)
    path.write_bytes(b"not at all" * 1000)
    found = await check(tmp_path)
    assert found.level == "problem"
    assert "file is not a database" in found.text


async def test_a_damaged_one_that_the_node_kept(tmp_path: Path) -> None:
    path = await written(tmp_path)
    kept = path.with_name(f"{path.name}.corrupt-1700000000")
    path.rename(kept)
    found = await check(tmp_path)
    assert found.level == "warning"
    assert str(kept) in found.text
    assert found.command == f"rm -- {kept}"
    assert os.system(found.command) == 0
    assert (await check(tmp_path)).level == "ok"


async def test_it_is_not_touched_while_a_node_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        found = await finding(database, node.node.config)
        assert found.level == "ok"
        assert "open in the running node" in found.text
    assert (await check(tmp_path)).text.endswith("without damage")


async def test_a_large_one_is_read_for_some_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(tmp_path, 20_000)
    monkeypatch.setattr(database, "_READING_TIME", -1.0)
    async with asyncio.timeout(10):
        found = await check(tmp_path)
    assert found.level == "ok"
    assert "no damage in what" in found.text


async def test_a_folder_in_its_place(tmp_path: Path) -> None:
    path = await written(tmp_path)
    path.unlink()
    path.mkdir()
    found = await check(tmp_path)
    assert found.level == "problem"
    assert "cannot be read" in found.text


async def test_one_that_is_hidden_from_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await written(tmp_path)

    stat = type(path).stat

    def forbid(self: Path, **options: bool) -> os.stat_result:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(type(path), "stat", forbid)  # root could read all
    found = await check(tmp_path)
    assert found.level == "unknown"
    assert f"may not read {path}" in found.text


async def test_a_sqlite_without_what_the_tables_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    assert (await check(tmp_path)).level == "problem"
