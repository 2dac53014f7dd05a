from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infernet_edge.doctor.user import CannotCheck, User, owner_of, this_user, user_named, user_of
from tests.support.disks import read_only_mount


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that all users may pass, unlike pytest's."""
    with tempfile.TemporaryDirectory(suffix=" with spaces") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def nobody() -> User:
    user = user_named("nobody")
    assert user is not None
    return user


def test_accounts() -> None:
    assert user_of(0).name == "root"
    assert user_of(4_000_000_000 - 1).name == "3999999999"
    assert user_named("there is none of this name") is None
    assert this_user().uid == os.getuid()
    assert owner_of(Path("/")) == user_of(Path("/").stat().st_uid)
    assert owner_of(Path("/is/not/there")) is None


def test_what_this_user_may(folder: Path) -> None:
    assert this_user().may(folder, "rwx")
    assert this_user().write_error(folder) == ""
    assert list(folder.iterdir()) == []
    assert not this_user().may(folder / "absent", "r")
    assert this_user().write_error(folder / "absent") == "No such file or directory"
    with read_only_mount(folder):
        assert this_user().write_error(folder) == "Read-only file system"


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's permissions are root's to see")
def test_what_another_user_may(folder: Path) -> None:
    assert nobody().may(folder, "rx")
    assert not nobody().may(folder, "w")
    assert nobody().write_error(folder) == "Permission denied"
    os.chown(folder, nobody().uid, nobody().gid)
    assert nobody().write_error(folder) == ""


def test_an_ordinary_user_cannot_see_what_others_may(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(CannotCheck, match="nobody"):
        nobody().may(folder, "r")
