from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from infernet_edge.doctor import storage
from infernet_edge.doctor.finding import Finding
from tests.support.disks import immutable, read_only_mount
from tests.support.examining import finding
from tests.support.running import configuration


async def look(folder: Path) -> Finding:
    return await finding(storage, configuration(folder))


async def test_a_folder_that_can_be_written(tmp_path: Path) -> None:
    assert await look(tmp_path) == Finding("ok", f"{tmp_path}/data can be written")
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    (tmp_path / "data").mkdir()
    assert (await look(tmp_path)).level == "ok"


async def test_a_card_that_is_mounted_for_reading_only(tmp_path: Path) -> None:
    card = tmp_path / "the card"  # spaces are written differently in mountinfo
    card.mkdir()
    with read_only_mount(card):
        found = await look(card)
    assert found.level == "problem"
    assert f"{card}, on which {card}/data is, is mounted for reading only" in found.text
    assert f"mount -o remount,rw {card}" in found.remedy


async def test_a_folder_that_this_user_may_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    with immutable(tmp_path / "data"):  # stops even root
        found = await look(tmp_path)
        assert found.level == "problem"
        user = pwd.getpwuid(os.getuid()).pw_name
        assert found.text.startswith(f"{user} cannot write {tmp_path}/data (")
        assert found.remedy == f"chmod u+rwx {tmp_path}/data"
        monkeypatch.setattr(os, "getuid", lambda: pwd.getpwnam("nobody").pw_uid)
        found = await look(tmp_path)
        assert found.text.startswith(f"nobody cannot write {tmp_path}/data (")
        assert found.remedy.endswith(f"sudo -u {user} infernet-edge doctor")


async def test_a_folder_that_this_user_may_not_make(tmp_path: Path) -> None:
    with immutable(tmp_path):
        found = await look(tmp_path)
    assert found.level == "problem"
    assert "sudo install -d -m 700 -o " in found.remedy  # never to take over what is above


async def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    found = await look(tmp_path)
    assert (found.level, found.text) == ("problem", f"{tmp_path}/data is no folder")
