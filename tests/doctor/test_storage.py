from __future__ import annotations

import contextlib
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infernet_edge.doctor import storage
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, together
from infernet_edge.doctor.user import User, this_user, user_named
from tests.support.disks import immutable, read_only_mount, small_disk
from tests.support.examining import finding, findings
from tests.support.running import configuration


async def check(folder: Path) -> Finding:
    return await finding(storage, configuration(folder))


async def test_a_folder_that_can_be_written(tmp_path: Path) -> None:
    assert await check(tmp_path) == Finding(
        "ok", f"{tmp_path}/data can be written by {this_user().name}"
    )
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    (tmp_path / "data").mkdir()
    assert (await check(tmp_path)).level == "ok"


async def test_a_card_that_is_mounted_for_reading_only(tmp_path: Path) -> None:
    card = tmp_path / "the card"  # spaces are written differently in mountinfo
    card.mkdir()
    with read_only_mount(card):
        found = await check(card)
    assert found.level == "problem"
    assert f"{card}, on which {card}/data is, is mounted read-only" in found.text
    assert found.command == f"mount -o remount,rw '{card}'"


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with immutable(tmp_path / "data"):  # stops even root
        found = await check(tmp_path)
        assert found.level == "problem"
        assert found.text.startswith(f"{this_user().name} cannot write {tmp_path}/data (")
        assert found.command == f"chattr -i {tmp_path}/data"
        assert os.system(found.command) == 0
        assert (await check(tmp_path)).level == "ok"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that all users may pass, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def of_nobody(folder: Path) -> Finding:
    """What is said of the data of a node that runs as nobody."""
    case = Case(configuration(folder))
    case.user = user_named("nobody")
    try:
        return together(await storage.check(case))
    finally:
        await case.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's permissions are root's to see")
async def test_a_folder_that_the_nodes_user_may_not_write(open_folder: Path) -> None:
    data = open_folder / "data"
    found = await of_nobody(open_folder)
    assert found.command == f"install -d -m 700 -o nobody {data}"
    data.mkdir(mode=0o755)
    found = await of_nobody(open_folder)
    assert found.text.startswith(f"nobody cannot write {data} (Permission denied)")
    assert found.command == f"chown -R nobody: {data}"
    (data / "somebody's file").touch()
    found = await of_nobody(open_folder)
    assert found.command == ""  # it is not the node's alone
    assert found.remedy.startswith("set storage.path")
    open_folder.chmod(0o700)
    found = await of_nobody(open_folder)
    assert f"it may not enter {open_folder}" in found.text
    assert found.command == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given away by root alone")
async def test_files_that_another_user_made(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir()
    os.chown(data, pwd.getpwnam("nobody").pw_uid, -1)
    assert (await of_nobody(open_folder)).level == "ok"
    (data / "infernet-edge.sqlite").touch()
    found = await of_nobody(open_folder)
    assert found.level == "problem"
    assert found.command == f"chown nobody: {data}/infernet-edge.sqlite"
    assert os.system(found.command) == 0
    assert (await of_nobody(open_folder)).level == "ok"


async def test_a_full_disk_is_no_matter_of_permissions(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2**20):
        with contextlib.suppress(OSError), (tmp_path / "disk/video").open("wb") as file:
            file.write(bytes(2**21))
        found = await check(tmp_path / "disk")
    assert found.level == "problem"
    assert "No space left on device" in found.text
    assert found.command == ""


async def test_a_folder_that_this_user_may_not_make(tmp_path: Path) -> None:
    with immutable(tmp_path):
        found = await check(tmp_path)
    assert found.level == "problem"
    assert found.command.startswith("install -d -m 700 -o ")  # never to take over what is above


async def test_the_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    config = configuration(tmp_path, {"log": {"path": f"{tmp_path}/logs/new/node.log"}})
    data, log = await findings(storage, config)
    assert (data.level, log.level) == ("ok", "ok")
    with immutable(tmp_path / "logs"):
        data, log = await findings(storage, config)
    assert (data.level, log.level, log.command) == ("ok", "problem", "")
    assert f"cannot write the log {tmp_path}/logs/new/node.log" in log.text


async def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(user: User, folder: Path) -> str:
        return "Input/output error"

    monkeypatch.setattr(User, "write_error", fail)  # no disk here can be made to do so
    found = await check(tmp_path)
    assert (found.level, found.command) == ("problem", "")
    assert "dmesg" in found.remedy
