"""The database of a node that does not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.backup.contents import CannotBackUp
from infernet_edge.backup.database import offline_database, tables_of
from infernet_edge.config.model import DATABASE
from infernet_edge.errors import StartupError
from infernet_edge.storage.lock import FolderLock, is_in_use
from tests.support.archives import make_database


def test_no_node_can_start_meanwhile(tmp_path: Path) -> None:
    path = make_database(tmp_path / DATABASE, [1])
    with offline_database(path) as tables:
        assert is_in_use(tmp_path)
        assert tables == tables_of(path)
        assert tables["jobs"].version > 0
    assert not is_in_use(tmp_path)


def test_a_node_that_runs_keeps_its_database(tmp_path: Path) -> None:
    path = make_database(tmp_path / DATABASE)
    lock = FolderLock(tmp_path)
    lock.acquire()
    try:
        with pytest.raises(StartupError, match="runs already"), offline_database(path):
            pass
    finally:
        lock.release()


def test_a_damaged_one_is_not_backed_up(tmp_path: Path) -> None:
    path = make_database(tmp_path / DATABASE, range(500), numbered=500)
    mark = tmp_path / f"{DATABASE}.damaged"
    mark.write_text("x")
    with pytest.raises(CannotBackUp, match=r"is damaged\. Start the node"), offline_database(path):
        pass
    mark.unlink()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xff" * (len(content) // 2))
    with pytest.raises(CannotBackUp, match=r"is damaged.*Start the node"), offline_database(path):
        pass
    assert not is_in_use(tmp_path)


def test_errors_of_the_caller_are_its_own(tmp_path: Path) -> None:
    path = make_database(tmp_path / DATABASE)
    with pytest.raises(OSError, match="the output"), offline_database(path):
        raise OSError("the output is full")
    assert not is_in_use(tmp_path)
