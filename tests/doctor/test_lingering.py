from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.containers.connection import Connection
from infernet_edge.containers.podman import Engine, EngineInfo
from infernet_edge.doctor import lingering
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding, with_file
from tests.support.running import configuration

_USER = pwd.getpwnam("nobody")


async def check(folder: Path, url: str = "unix:///tmp/podman.sock") -> Finding:
    document: dict[str, Any] = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": "localhost/a:1"}],
        "podman": {"url": url},
    }
    return await finding(lingering, configuration(folder, document), root=folder)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One run by systemd, where the user nobody has a Podman."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: _USER.pw_uid)
    monkeypatch.setattr(os, "geteuid", lambda: _USER.pw_uid)
    info = EngineInfo("4.3.1", frozenset())
    monkeypatch.setattr(Engine, "info", lambda self, timeout: info)
    return tmp_path


async def test_it_is_on(machine: Path) -> None:
    with_file(machine, "var/lib/systemd/linger/nobody")
    assert await check(machine) == Finding("ok", "containers keep running when nobody logs out")


async def test_it_is_off(machine: Path) -> None:
    found = await check(machine)
    assert found.level == "warning"
    assert found.command == "sudo loginctl enable-linger nobody"


async def test_podman_is_another_users(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "is_own", False)
    assert (await check(machine)).text == "not needed: Podman is not part of this user's session"


@pytest.mark.parametrize(
    ("url", "of_a_session"),
    [
        ("unix:///run/user/1000/podman/podman.sock", True),
        ("unix:///tmp/infernet-edge-x/podman.sock", True),
        ("unix:///run/infernet-edge-podman/podman/podman.sock", False),
        ("tcp://127.0.0.1:8080", False),
    ],
)
async def test_podman_is_a_service_of_the_system(
    url: str, of_a_session: bool, machine: Path
) -> None:
    assert (await check(machine, url)).level == ("warning" if of_a_session else "ok")


async def test_where_it_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert (await check(tmp_path)).text == "not needed: Podman is root's"
    monkeypatch.setattr(os, "getuid", lambda: _USER.pw_uid)
    monkeypatch.setattr(os, "geteuid", lambda: _USER.pw_uid)
    assert "does not run systemd" in (await check(tmp_path)).text
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    # The session may be why Podman does not answer.
    assert (await check(tmp_path)).command == "sudo loginctl enable-linger nobody"
    assert "no containers" in (await finding(lingering, configuration(tmp_path))).text
