from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infernet_edge.config.model import Config
from infernet_edge.containers.connection import Connection
from infernet_edge.doctor import leftovers
from infernet_edge.errors import EngineError
from infernet_edge.folders import MARK, PREFIX
from tests.support.examining import finding
from tests.support.managing import configuration, container, managing
from tests.support.podman import IsolatedPodman


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are made, apart from those of other programs."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


async def kill_a_node(podman: IsolatedPodman, folder: Path) -> Config:
    """Start a node's containers and leave them behind; returns its configuration."""
    config = configuration(podman, folder, container(folder.name, podman.echo_image()))
    config.storage_path.mkdir(parents=True)
    async with managing(config, stop=False):
        pass
    return config


async def test_nothing_is_left(podman: IsolatedPodman, tmp_path: Path) -> None:
    config = configuration(podman, tmp_path / "one", container("one", podman.echo_image()))
    async with managing(config):
        other = configuration(podman, tmp_path / "two", container("two", podman.echo_image()))
        found = await finding(leftovers, other)
    assert (found.level, found.text) == ("ok", "no containers or folders of nodes that do not run")


async def test_what_killed_nodes_left_is_listed_with_the_command_that_removes_it(
    podman: IsolatedPodman, tmp_path: Path, temporary: Path
) -> None:
    mine = await kill_a_node(podman, tmp_path / "mine")
    other = await kill_a_node(podman, tmp_path / "other")
    gone = await kill_a_node(podman, tmp_path / "gone")
    gone.storage_path.rmdir()
    folder = temporary / f"{PREFIX}abcdefgh"
    folder.mkdir()
    (folder / MARK).touch()
    podman.run("run", "--detach", "--name", "somebodys", podman.echo_image())
    found = await finding(leftovers, mine)
    assert found.level == "warning"
    assert "of this node, which was killed; its next start adopts them" in found.text
    assert f"with its data in {other.storage_path} that does not seem to run" in found.text
    assert f"of a node whose data in {gone.storage_path} does not exist" in found.text
    assert f"killed nodes left {folder}" in found.text
    assert len(podman.containers()) == 4
    assert folder.exists()  # nothing is changed
    subprocess.run(found.command, shell=True, check=True, capture_output=True, timeout=60)
    assert podman.containers() == ["somebodys"]
    assert not folder.exists()
    assert (await finding(leftovers, mine)).level == "ok"


async def test_folders_are_listed_without_podman_too(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object) -> None:
        raise EngineError("Podman is not installed")

    monkeypatch.setattr(Connection, "open", fail)
    found = await finding(leftovers, Config())
    assert (found.level, "Podman does not answer" in found.text) == ("unknown", True)
    folder = temporary / f"{PREFIX}abcdefgh"
    folder.mkdir()
    assert (await finding(leftovers, Config())).command == f"rm -r {folder}"
