from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from infernet_edge.doctor import space
from infernet_edge.doctor.finding import Finding
from tests.support.disks import small_disk
from tests.support.examining import finding
from tests.support.running import configuration

_MEBIBYTE = 2**20


async def check(folder: Path, **storage: Any) -> Finding:
    return await finding(space, configuration(folder, {"storage": storage}))


async def test_a_disk_with_room(tmp_path: Path) -> None:
    found = await check(tmp_path, max_bytes=_MEBIBYTE)
    assert found.level == "ok"
    assert found.text.endswith(" MiB are free")


async def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * _MEBIBYTE):
        least = 3 * _MEBIBYTE
        assert (await check(tmp_path / "disk", min_free_bytes=least)).level == "ok"
        (tmp_path / "disk/video").write_bytes(bytes(2 * _MEBIBYTE))
        found = await check(tmp_path / "disk", min_free_bytes=least)
    assert found.level == "problem"
    assert found.text.startswith(f"2 MiB are free at {tmp_path}/disk, new jobs need 3 MiB")
    assert found.command == ""
    assert f"{tmp_path}/disk/video (2 MiB)" in found.remedy


async def test_a_disk_that_jobs_may_fill(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * _MEBIBYTE):
        found = await check(tmp_path / "disk", max_bytes=8 * _MEBIBYTE)
    assert found == Finding("ok", "4 MiB are free; jobs may take 8 MiB (storage.max_bytes)")


async def test_a_disk_without_inodes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 4 * _MEBIBYTE):
        subprocess.run(["mount", "-o", "remount,nr_inodes=20", disk], check=True, timeout=30)
        few = await check(disk)
        for number in range(19):  # one is the folder's
            (disk / f"{number}").touch()
        none = await check(disk)
    assert few.level == "warning"
    assert few.text.startswith("19 more files can be made")
    assert none.level == "problem"
    assert none.text.startswith("0 more files can be made")
    assert f"files below {disk}" in none.remedy
