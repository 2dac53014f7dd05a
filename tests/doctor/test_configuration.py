from __future__ import annotations

from pathlib import Path

from infernet_edge.doctor import configuration as check
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding
from tests.support.running import configuration


async def test_one_without_warnings(tmp_path: Path) -> None:
    source = tmp_path / "config.toml"
    found = await finding(check, configuration(tmp_path), source=source)
    assert found == Finding("ok", f"{source} has no mistakes")


async def test_its_warnings_are_handed_on(tmp_path: Path) -> None:
    warnings = ["redis is ignored", "containers[1].port: 3000 is taken"]
    found = await finding(check, configuration(tmp_path), source=tmp_path, warnings=warnings)
    assert found.level == "warning"
    assert found.text == "redis is ignored; containers[1].port: 3000 is taken"


async def test_no_file_was_found(tmp_path: Path) -> None:
    found = await finding(check, configuration(tmp_path))
    assert (found.level, found.remedy) == ("warning", "infernet-edge init")
