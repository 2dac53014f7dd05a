from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.doctor import unpacked
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding
from tests.support.running import configuration
from tests.test_unpacked import folder


async def check(place: Path) -> Finding:
    return await finding(unpacked, configuration(place, {}), root=place)


async def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert (await check(tmp_path)).level == "ok"


async def test_folders_of_killed_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a place"))
    left = folder(tmp_path / "a place")
    (left / "library.so").write_bytes(bytes(3 * 2**20))
    found = await check(tmp_path)
    assert found.level == "warning"
    assert f"3 MiB: '{left}'" in found.text
    assert found.command == f"rm -r '{left}'"
    assert left.exists()
