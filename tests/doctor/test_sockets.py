from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.doctor import sockets
from infernet_edge.doctor.finding import Finding
from infernet_edge.doctor.user import User, this_user
from tests.support.examining import finding
from tests.support.running import configuration


@pytest.fixture
def path() -> Iterator[Path]:
    """A real socket in a folder that all users may pass."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        Path(folder).chmod(0o755)
        listener.bind(f"{folder}/podman.sock")
        yield Path(folder, "podman.sock")


async def check(folder: Path, url: str | None = None) -> Finding:
    document: dict[str, Any] = {
        "manage_containers": True,
        "containers": [{"id": "a", "image": "localhost/a:1"}],
        "podman": {"url": url},
    }
    return await finding(sockets, configuration(folder, document))


def found_by_itself(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    monkeypatch.setattr(sockets, "standard_sockets", lambda environment: list(paths))


async def test_one_for_this_user_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o600)
    expected = Finding("ok", f"{path} is only for {this_user().name}")
    assert await check(path.parent, f"unix://{path}") == expected
    found_by_itself(monkeypatch, path.parent / "absent", path)
    assert await check(path.parent) == expected


async def test_one_for_everybody(path: Path) -> None:
    path.chmod(0o666)
    found = await check(path.parent, f"unix://{path}")
    assert (found.level, found.command) == ("problem", f"chmod o= {path}")
    path.parent.chmod(0o700)  # now nobody gets there
    assert (await check(path.parent, f"unix://{path}")).level == "ok"


async def test_one_that_this_user_may_not_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o600)
    monkeypatch.setattr(User, "may", lambda user, path, how: False)  # root may use all
    found = await check(path.parent, f"unix://{path}")
    assert found.level == "problem"
    assert f"may not use {path}" in found.text
    assert "remove podman.url" in found.remedy
    assert found.command == ""
    # Where none is configured, the node has another way.
    found_by_itself(monkeypatch, path)
    found = await check(path.parent)
    assert found.level == "ok"
    assert f"may not use {path}" in found.text


async def test_one_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await check(tmp_path, f"unix://{tmp_path}/absent")
    assert (found.level, found.text) == ("problem", f"{tmp_path}/absent does not exist")
    found_by_itself(monkeypatch, tmp_path / "absent")
    found = await check(tmp_path)
    assert (found.level, found.text[:27]) == ("ok", "not needed: the node starts")


async def test_none_is_needed(tmp_path: Path) -> None:
    found = await check(tmp_path, "tcp://me:password@10.0.0.1:8080")
    assert found == Finding("ok", "not needed: Podman is reached at 10.0.0.1:8080")
    assert (await finding(sockets, configuration(tmp_path))).text.startswith("not needed")
