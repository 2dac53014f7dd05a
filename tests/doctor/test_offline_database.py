from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from infernet_edge.doctor.offline_database import InUse, open_offline
from infernet_edge.storage.database import Database
from tests.support.running import configuration, running


async def test_what_a_killed_node_left_in_the_wal_is_read_and_kept(tmp_path: Path) -> None:
    path = configuration(tmp_path).database_path
    path.parent.mkdir()
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    writer.commit()
    files = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}
    writer.close()  # empties the WAL: put back what a kill would have left
    for suffix, content in files.items():
        Path(f"{path}{suffix}").write_bytes(content)
    with open_offline(configuration(tmp_path)) as connection:
        assert connection is not None
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO t VALUES (1)")
    assert Path(f"{path}-wal").read_bytes() == files["-wal"]


async def test_a_node_that_starts_meanwhile(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    opened = Database(config.database_path, {})
    await opened.open()
    await opened.close()
    with pytest.raises(InUse), open_offline(config):
        await opened.open()
    await opened.close()


async def test_a_node_that_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        with pytest.raises(InUse), open_offline(node.node.config):
            pass
    with open_offline(node.node.config) as connection:
        assert connection is not None


def test_there_is_none_yet(tmp_path: Path) -> None:
    with open_offline(configuration(tmp_path)) as connection:
        assert connection is None
