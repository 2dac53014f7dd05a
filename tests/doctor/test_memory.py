from __future__ import annotations

from pathlib import Path
from typing import Any

from infernet_edge.doctor import memory
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding, with_file
from tests.support.running import configuration

_MEMINFO = (
    "MemTotal: {total} kB\nMemFree: 9 kB\nMemAvailable: {available} kB\nSwapTotal: 102400 kB\n"
)


def machine(folder: Path, *, available: int = 400) -> Path:
    """A machine of 512 MiB with some MiB available."""
    text = _MEMINFO.format(total=512 * 1024, available=available * 1024)
    return with_file(folder, "proc/meminfo", text)


def limits(*each: str | int | None) -> dict[str, Any]:
    containers = [
        {"id": f"c{number}", "image": "localhost/x", "memory": limit}
        for number, limit in enumerate(each)
    ]
    return {"manage_containers": True, "containers": containers}


async def check(folder: Path, root: Path, document: dict[str, Any] | None = None) -> Finding:
    return await finding(memory, configuration(folder, document), root=root)


async def test_enough(tmp_path: Path) -> None:
    found = await check(tmp_path, machine(tmp_path), limits("256m", 256 * 2**20, None))
    assert found == Finding("ok", "400 MiB of 512 MiB are available, with 100 MiB of swap")


async def test_hardly_any_is_left(tmp_path: Path) -> None:
    found = await check(tmp_path, machine(tmp_path, available=63))
    assert found.level == "warning"
    assert found.text.startswith("63 MiB of 512 MiB are available")
    assert found.remedy.startswith("stop programs that are not needed; the largest are ")
    assert found.command == ""


async def test_containers_may_take_more_than_there_is(tmp_path: Path) -> None:
    found = await check(tmp_path, machine(tmp_path), limits("256m", "257m"))
    assert found.level == "warning"
    assert "513 MiB" in found.text
    assert "containers[].memory" in found.remedy


async def test_a_machine_without_proc(tmp_path: Path) -> None:
    found = await check(tmp_path, tmp_path)
    assert (found.level, found.text) == ("unknown", "not checked: /proc/meminfo cannot be read")


async def test_this_machine(tmp_path: Path) -> None:
    assert "MiB are available" in (await check(tmp_path, Path("/"))).text
