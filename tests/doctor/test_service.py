from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.doctor import service
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding, with_file
from tests.support.running import configuration

_WELL = {
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "ExecMainStatus": "0",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
}


async def look(folder: Path) -> Finding:
    return await finding(service, configuration(folder), root=folder)


def machine(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A machine run by systemd on which the unit is installed; `script` is its systemctl."""
    (folder / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    with_file(folder, "etc/systemd/system/infernet-edge.service")
    systemctl = folder / "bin/systemctl"
    with_file(folder, "bin/systemctl", f"#!/bin/sh\n{script}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
    return folder


def saying(**different: str) -> str:
    lines = "\\n".join(f"{name}={value}" for name, value in (_WELL | different).items())
    return f'test "$1 $2" = "show infernet-edge.service" && printf "{lines}\\n"'


@pytest.mark.parametrize(
    ("different", "level", "text", "remedy"),
    [
        ({}, "ok", "is active", ""),
        ({"ActiveState": "activating", "SubState": "start"}, "ok", "is activating", ""),
        (
            {"ActiveState": "failed", "ExecMainStatus": "78", "Result": "exit-code"},
            "problem",
            "configuration had mistakes",
            "infernet-edge check; then: sudo systemctl restart infernet-edge.service",
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "watchdog"},
            "problem",
            "does not stay up (watchdog",
            "journalctl -u infernet-edge.service",
        ),
        ({"NeedDaemonReload": "yes"}, "warning", "changed", "sudo systemctl daemon-reload"),
        (
            {"ActiveState": "inactive", "SubState": "dead"},
            "warning",
            "does not run",
            "sudo systemctl start infernet-edge.service",
        ),
        (
            {"UnitFileState": "disabled"},
            "warning",
            "would not start with the machine",
            "sudo systemctl enable infernet-edge.service",
        ),
    ],
)
async def test_states(
    different: dict[str, str],
    level: str,
    text: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await look(machine(tmp_path, monkeypatch, saying(**different)))
    assert found.level == level
    assert text in found.text
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) is bool(remedy)


async def test_a_systemd_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TIMEOUT", 0.2)
    assert (await look(machine(tmp_path, monkeypatch, "exec sleep 60"))).level == "warning"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await look(tmp_path)).level == "warning"


async def test_it_is_not_installed(tmp_path: Path) -> None:
    found = await look(tmp_path)
    assert (found.level, found.text[:10]) == ("ok", "not needed")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = await look(tmp_path)
    assert found.level == "ok"
    assert "infernet-edge service" in found.text
