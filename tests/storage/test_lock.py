"""The lock of a storage folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infernet_edge.errors import StartupError
from infernet_edge.storage.lock import FolderLock, is_in_use


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert not is_in_use(folder)
    first, second = FolderLock(folder), FolderLock(folder)
    first.acquire()
    first.acquire()  # again: it is held
    assert first.held
    assert is_in_use(folder)
    with pytest.raises(StartupError, match="This node runs already"):
        second.acquire()
    assert not second.held
    first.release()
    first.release()
    assert not is_in_use(folder)
    second.acquire()
    second.release()


def test_the_error_names_the_owner(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    first.acquire()

    def refusal() -> str:
        with pytest.raises(StartupError) as refused:
            FolderLock(tmp_path).acquire()
        return str(refused.value)

    assert f"already (process {os.getpid()}; its data is in {tmp_path})" in refusal()
    first.name_owner("http://127.0.0.1:4000")
    assert f"already (process {os.getpid()}, http://127.0.0.1:4000; its data" in refusal()
    (tmp_path / "lock").write_bytes(b"")  # as an earlier version left it
    assert f"already (its data is in {tmp_path})" in refusal()
    first.release()


def test_of_an_earlier_owner_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1 http://127.0.0.1:4999/a/long/one\n")
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()} \n"
    lock.release()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        FolderLock(tmp_path / "file").acquire()
