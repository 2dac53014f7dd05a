from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.containers import connection
from infernet_edge.containers.podman import Engine, EngineInfo
from infernet_edge.doctor import podman as check
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding, with_file
from tests.support.podman import IsolatedPodman
from tests.support.running import configuration


async def look(folder: Path, url: str | None, **container: Any) -> Finding:
    document: dict[str, Any] = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": "localhost/a:1", **container}],
        "podman": {"url": url},
    }
    return await finding(check, configuration(folder, document), root=folder)


def tell(monkeypatch: pytest.MonkeyPatch, version: str, *limits: str) -> None:
    """Let Podman say what another one would."""
    info = EngineInfo(version, frozenset(limits))
    monkeypatch.setattr(Engine, "info", lambda self, timeout: info)


async def test_it_answers(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await look(tmp_path, podman.url)
    version = podman.run("version", "--format", "{{.Server.Version}}")
    assert version in found.text
    tell(monkeypatch, "4.3.1", "memory", "cpu", "pids")
    assert await look(tmp_path, "unix:///x") == Finding("ok", "Podman 4.3.1 answers at unix:///x")


async def test_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, "3.0.1", "memory", "cpu", "pids")
    found = await look(tmp_path, "unix:///x")
    assert (found.level, found.text) == ("warning", "Podman 3.0.1 is older than 4.0")


@pytest.mark.parametrize(
    ("controllers", "user", "remedy"),
    [
        (False, 0, "systemd.unified_cgroup_hierarchy=1"),
        (True, 0, "cgroup_enable=memory"),
        (True, 1000, "Delegate=cpu"),
    ],
)
async def test_it_cannot_limit_what_shall_be_limited(
    controllers: bool, user: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if controllers:
        with_file(tmp_path, "sys/fs/cgroup/cgroup.controllers")
    monkeypatch.setattr(os, "getuid", lambda: user)
    tell(monkeypatch, "5.0.0", "pids")
    found = await look(tmp_path, "unix:///x", memory="64m")
    assert found.level == "warning"
    assert found.text.startswith("Podman 5.0.0 at unix:///x cannot limit memory:")
    assert remedy in found.remedy
    assert (await look(tmp_path, "unix:///x")).level == "ok"


async def test_it_does_not_answer(tmp_path: Path) -> None:
    found = await look(tmp_path, f"unix://{tmp_path}/none.sock")
    assert found.level == "problem"
    assert "podman" in found.remedy


async def test_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "standard_sockets", lambda environment: [])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("podman") is None
    found = await look(tmp_path, None)
    assert (found.level, found.remedy) == ("problem", "sudo apt-get install podman")
    # Somebody without a configuration may not need it.
    found = await finding(check, configuration(tmp_path, {"manage_containers": True}))
    assert (found.level, found.remedy) == ("warning", "sudo apt-get install podman")


async def test_it_is_not_needed(tmp_path: Path) -> None:
    assert (await finding(check, configuration(tmp_path))).text.startswith("not needed")
