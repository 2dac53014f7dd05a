from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.containers import connection
from infernet_edge.containers.podman import Engine, EngineInfo
from infernet_edge.doctor import podman as checked
from infernet_edge.doctor.commands import install_package
from infernet_edge.doctor.finding import Finding
from infernet_edge.doctor.user import user_of
from tests.support.examining import finding, with_file
from tests.support.podman import IsolatedPodman
from tests.support.running import configuration


async def check(folder: Path, url: str | None, **container: Any) -> Finding:
    document: dict[str, Any] = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": "localhost/a:1", **container}],
        "podman": {"url": url},
    }
    return await finding(checked, configuration(folder, document), root=folder)


def set_podman(monkeypatch: pytest.MonkeyPatch, version: str, *limits: str) -> None:
    """Let Podman say what another one would."""
    info = EngineInfo(version, frozenset(limits))
    monkeypatch.setattr(Engine, "info", lambda self, timeout: info)


async def test_it_answers(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await check(tmp_path, podman.url)
    version = podman.run("version", "--format", "{{.Server.Version}}")
    assert version in found.text
    set_podman(monkeypatch, "4.3.1", "memory", "cpu", "pids")
    assert await check(tmp_path, "unix:///x") == Finding("ok", "Podman 4.3.1 answers at unix:///x")


async def test_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_podman(monkeypatch, "3.0.1", "memory", "cpu", "pids")
    found = await check(tmp_path, "unix:///x")
    assert found.level == "warning"
    assert found.text.startswith("Podman 3.0.1 is older than 4.0")
    assert found.command == install_package("podman")


async def test_an_old_one_does_not_even_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = with_file(tmp_path, "podman", "#!/bin/sh\necho podman version 3.4.4\n") / "podman"
    program.chmod(0o755)
    monkeypatch.setattr(connection, "standard_sockets", lambda environment: [])
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = await check(tmp_path, None)
    assert found.level == "problem"
    assert found.text.startswith("Podman 3.4 is older than 4.0")
    assert found.command == install_package("podman")


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
    for name in ("getuid", "geteuid"):
        monkeypatch.setattr(os, name, lambda: user)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with_file(tmp_path, "etc/subuid", f"{user_of(1000).name}:100000:65536\n")
    set_podman(monkeypatch, "5.0.0", "pids")
    found = await check(tmp_path, "unix:///x", memory="64m")
    assert found.level == "warning"
    assert found.text.startswith("Podman 5.0.0 at unix:///x cannot limit memory:")
    assert remedy in found.remedy + found.command
    assert (remedy in found.command) is (user != 0)
    assert (await check(tmp_path, "unix:///x")).level == "ok"


async def test_what_podman_without_root_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("getuid", "geteuid"):
        monkeypatch.setattr(os, name, lambda: 1000)
    set_podman(monkeypatch, "5.0.0", "memory", "cpu", "pids")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "newuidmap" else name)
    found = await check(tmp_path, "unix:///x")
    assert (found.level, found.command) == ("problem", install_package("uidmap"))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with_file(tmp_path, "etc/subuid", "other:165536:65536\nnonsense\n")
    found = await check(tmp_path, "unix:///x")
    assert "usermod --add-subuids 231072-296607 --add-subgids 231072-296607" in found.command
    with_file(tmp_path, "etc/subuid", "1000:165536:65536\n")
    monkeypatch.setattr(shutil, "which", lambda name: name if name != "slirp4netns" else None)
    assert (await check(tmp_path, "unix:///x")).level == "ok"  # there is pasta
    nets = ("slirp4netns", "pasta")
    monkeypatch.setattr(shutil, "which", lambda name: None if name in nets else name)
    assert (await check(tmp_path, "unix:///x")).command == install_package("slirp4netns")


async def test_it_does_not_answer(tmp_path: Path) -> None:
    found = await check(tmp_path, f"unix://{tmp_path}/none.sock")
    assert found.level == "problem"
    assert found.text == f"no Podman listens at {tmp_path}/none.sock (No such file or directory)"
    assert "remove podman.url" in found.remedy
    assert found.command == ""
    found = await check(tmp_path, "tcp://127.0.0.1:1")
    assert found.level == "problem"
    assert "correct podman.url" in found.remedy


async def test_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "standard_sockets", lambda environment: [])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("podman") is None
    found = await check(tmp_path, None)
    assert (found.level, found.text) == ("problem", "Podman is not installed")
    assert "package manager" in found.remedy  # apt-get is not found either
    # Somebody without a configuration may not need it.
    found = await finding(checked, configuration(tmp_path, {"manage_containers": True}))
    assert (found.level, found.text) == ("warning", "Podman is not installed")
    with_file(tmp_path, "apt-get").joinpath("apt-get").chmod(0o755)
    assert (await check(tmp_path, None)).command == install_package("podman") != ""


async def test_it_is_not_needed(tmp_path: Path) -> None:
    assert (await finding(checked, configuration(tmp_path))).text.startswith("not needed")
