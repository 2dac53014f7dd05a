"""The file of a backup: whole or not there, and never in the place of another."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from infernet_edge.backup.contents import CannotBackUp
from infernet_edge.backup.output import check_name, explain, new_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    with new_file(path) as file:
        file.write(b"x")
        assert names(tmp_path) == [".b.tar.partial"]
    assert names(tmp_path) == ["b.tar"]
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "b.tar") as file:
        file.write(b"x" * (1 // 0))
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".b.tar.partial").write_bytes(b"x" * 100)
    (tmp_path / ".b.tar.partial").chmod(0o644)
    with new_file(tmp_path / "b.tar") as file:
        file.write(b"new")
    assert names(tmp_path) == ["b.tar"]
    assert (tmp_path / "b.tar").read_bytes() == b"new"
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    with new_file(tmp_path / "b.tar") as file:
        file.write(b"first")
        with pytest.raises(CannotBackUp, match="Another backup"), new_file(tmp_path / "b.tar"):
            pass
    assert (tmp_path / "b.tar").read_bytes() == b"first"


def test_a_file_that_was_made_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="exists"), new_file(tmp_path / "b.tar"):
        (tmp_path / "b.tar").write_bytes(b"mine")
    assert (tmp_path / "b.tar").read_bytes() == b"mine"
    assert names(tmp_path) == ["b.tar"]


def test_a_partial_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / ".b.tar.partial").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"), new_file(tmp_path / "b.tar"):
        pass
    assert (tmp_path / "other").read_bytes() == b"mine"


def test_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FAT on a USB stick, for which the tests have no tools."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with new_file(tmp_path / "b.tar") as file:
        file.write(b"x")
    assert names(tmp_path) == ["b.tar"]
    with pytest.raises(CannotBackUp, match="exists"), new_file(tmp_path / "c.tar"):
        (tmp_path / "c.tar").write_bytes(b"mine")
    assert (tmp_path / "c.tar").read_bytes() == b"mine"


def test_names_and_errors(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(CannotBackUp, match="--force"):
        check_name(tmp_path / "x", replace=False)
    check_name(tmp_path / "x", replace=True)
    with pytest.raises(CannotBackUp, match="cannot be used"):
        check_name(tmp_path / "x/y", replace=True)
    assert "is full" in explain(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert "FAT32" in explain(tmp_path, OSError(errno.EFBIG, "File too large"))
    assert "cannot be written: no" in explain(tmp_path, OSError(errno.EIO, "no"))
