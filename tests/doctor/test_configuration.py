from __future__ import annotations

from pathlib import Path

from infernet_edge.config.errors import PermissionWarning, Problem
from infernet_edge.doctor import configuration as checked
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding
from tests.support.running import configuration


async def test_one_without_warnings(tmp_path: Path) -> None:
    source = tmp_path / "config.toml"
    source.touch()
    found = await finding(checked, configuration(tmp_path), source=source)
    assert found == Finding("ok", f"{source}: no errors")


async def test_its_warnings_are_handed_on(tmp_path: Path) -> None:
    warnings = ["redis is ignored", "containers[1].port: 3000 is taken"]
    found = await finding(checked, configuration(tmp_path), source=tmp_path, warnings=warnings)
    assert found.level == "warning"
    assert found.text == "redis is ignored; containers[1].port: 3000 is taken"


async def test_what_the_check_of_secrets_says_is_not_said_twice(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.touch()
    warnings = [PermissionWarning("others can read /key"), "redis is ignored"]
    found = await finding(checked, configuration(tmp_path), source=file, warnings=warnings)
    assert found.text == "redis is ignored"


async def test_one_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    mistake = Problem("", "no readable file", "a JSON or TOML file")
    found = await finding(checked, configuration(tmp_path), source=file, problems=[mistake])
    assert found.level == "problem"
    assert f"may not read {file}, or it does not exist" in found.text


async def test_no_file_was_found(tmp_path: Path) -> None:
    found = await finding(checked, configuration(tmp_path))
    assert found.level == "warning"
    assert f" init --output {Path.cwd()}/config.json" in found.command
