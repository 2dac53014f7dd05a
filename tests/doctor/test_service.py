from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.doctor import service
from infernet_edge.doctor.commands import as_root
from infernet_edge.doctor.finding import Finding
from infernet_edge.doctor.user import this_user
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


async def check(folder: Path) -> Finding:
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
    return f'test "$1" = show && printf "{lines}\\n"'


@pytest.mark.parametrize(
    ("different", "level", "text", "remedy"),
    [
        ({}, "ok", "is active", ""),
        ({"ActiveState": "activating", "SubState": "start"}, "ok", "is activating", ""),
        (
            {"ActiveState": "failed", "ExecMainStatus": "78", "Result": "exit-code"},
            "problem",
            "configuration had errors",
            "",  # it is not the configuration that is looked at here
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "watchdog"},
            "problem",
            "stops again after its start (watchdog",
            "systemctl restart infernet-edge.service",
        ),
        ({"NeedDaemonReload": "yes"}, "warning", "changed", "systemctl daemon-reload"),
        (
            {"ActiveState": "inactive", "SubState": "dead"},
            "warning",
            "is not running",
            "systemctl start infernet-edge.service",
        ),
        (
            {"UnitFileState": "disabled"},
            "warning",
            "does not start at boot",
            "systemctl enable infernet-edge.service",
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
    found = await check(machine(tmp_path, monkeypatch, saying(**different)))
    assert found.level == level
    assert text in found.text
    assert found.command == (as_root(*remedy.split()) if remedy else "")


async def test_a_systemd_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TIMEOUT", 0.2)
    assert (await check(machine(tmp_path, monkeypatch, "exec sleep 60"))).level == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await check(tmp_path)).level == "unknown"


async def test_it_is_not_installed(tmp_path: Path) -> None:
    found = await check(tmp_path)
    assert (found.level, found.text[:10]) == ("ok", "not needed")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = await check(tmp_path)
    assert found.level == "ok"
    assert "infernet-edge service" in found.text


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, **different: str) -> Path:
    """A machine on which the service is installed as its program would do it."""
    machine(folder, monkeypatch, saying(**different))
    program = "opt/infernet-edge/0.1.0"
    with_file(folder, f"{program}/infernet-edge")
    (folder / "opt/infernet-edge/current").symlink_to("0.1.0")
    units = Path(__file__).parents[2] / "systemd"
    for name in UNITS:
        text = (units / name).read_text()
        with_file(folder, f"{program}/infernet_edge/installer/units/{name}", text)
        with_file(folder, f"etc/systemd/system/{name}", text)
    monkeypatch.setattr(service, "user_named", lambda name: this_user())
    return folder


UNITS = ("infernet-edge.service", "infernet-edge-podman.socket", "infernet-edge-podman.service")


async def test_an_installation_that_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await check(installed(tmp_path, monkeypatch))).level == "ok"


@pytest.mark.parametrize("name", UNITS)
async def test_a_unit_that_was_changed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = installed(tmp_path, monkeypatch) / "etc/systemd/system" / name
    file.write_text(file.read_text() + "# mine\n")
    found = await check(tmp_path)
    assert found.level == "warning"
    assert found.text.startswith(f"{file} was changed or is missing")
    assert found.command.endswith(" service install")


async def test_what_the_configuration_names_and_the_unit_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch)
    config = '{"storage": {"path": "/srv/edge"}}'
    with_file(tmp_path, "etc/infernet-edge/config.json", config)
    found = await check(tmp_path)
    assert found.level == "problem"
    assert "are not open to the service" in found.text
    assert found.command.endswith(" service install")
    drop_in = "[Service]\nReadWritePaths=-/srv/edge\n"
    head = "# Written by `infernet-edge service install`.\n"
    with_file(tmp_path, "etc/systemd/system/infernet-edge.service.d/access.conf", head + drop_in)
    assert (await check(tmp_path)).level == "ok"


async def test_a_program_or_an_account_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed(tmp_path, monkeypatch) / "opt/infernet-edge/current").unlink()
    found = await check(tmp_path)
    assert found.level == "problem"
    assert "does not lead to a program" in found.text
    monkeypatch.setattr(service, "user_named", lambda name: None)
    assert "the account infernet-edge is missing" in (await check(tmp_path)).text


async def test_a_socket_that_does_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch)
    script = f'case "$2" in *.socket) echo ActiveState=inactive ;; *) {saying()} ;; esac'
    machine(tmp_path, monkeypatch, script)
    for name in UNITS[:1]:
        text = (Path(__file__).parents[2] / "systemd" / name).read_text()
        with_file(tmp_path, f"etc/systemd/system/{name}", text)
    document = {"manage_containers": True}
    found = await finding(service, configuration(tmp_path, document), root=tmp_path)
    assert found.level == "problem"
    assert found.command == as_root("systemctl", "enable", "--now", "infernet-edge-podman.socket")
