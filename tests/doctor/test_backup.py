"""Scheduled backups: can the node write them, and did it?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.backup import schedule
from infernet_edge.doctor import backup
from infernet_edge.doctor.finding import Finding
from tests.support.disks import read_only_mount
from tests.support.examining import finding
from tests.support.running import configuration, running


async def check(folder: Path, path: Path) -> Finding:
    return await finding(backup, configuration(folder, {"backup": {"path": str(path)}}))


async def test_without_a_schedule_nothing_is_wrong(tmp_path: Path) -> None:
    found = await finding(backup, configuration(tmp_path))
    assert (found.level, found.text) == ("ok", "no scheduled backups (backup.path is not set)")


async def test_a_folder_that_can_be_written(tmp_path: Path) -> None:
    found = await check(tmp_path, tmp_path)
    assert found.level == "ok"
    assert f"{tmp_path} can be written by " in found.text
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    found = await check(tmp_path, tmp_path / "usb")
    assert found.level == "problem"
    assert "there is no folder" in found.text
    assert found.command.endswith(str(tmp_path / "usb"))


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    with read_only_mount(tmp_path / "usb"):
        found = await check(tmp_path, tmp_path / "usb")
    assert found.level == "problem"
    assert "cannot write" in found.text
    assert "uid=" in found.remedy


async def test_the_last_one_of_a_running_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_AFTER_START", 0.1)
    out = tmp_path / "out"
    out.mkdir()
    document: dict[str, Any] = {"backup": {"path": str(out), "every": 60}}
    async with running(tmp_path, document) as node:
        for _ in range(100):
            found = await finding(backup, node.node.config)
            if "none yet" not in found.text:
                break
            await asyncio.sleep(0.1)
        [made] = out.iterdir()
        assert found.text.endswith(f"the last backup: {made.name}")
