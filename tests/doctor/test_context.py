from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infernet_edge.config.errors import Problem
from infernet_edge.config.model import Config
from infernet_edge.containers.connection import Connection
from infernet_edge.control.client import NotRunning, fetch
from infernet_edge.doctor import context as module
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.user import this_user, user_named
from infernet_edge.errors import EngineError
from tests.support.examining import with_file
from tests.support.running import configuration, running


async def test_the_node_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def count(config: Config, report: str) -> object:
        asked.append(report)
        return fetch(config, report)

    monkeypatch.setattr(module, "fetch", count)
    async with running(tmp_path) as node:
        case = Case(node.node.config)
        one, other = await asyncio.gather(case.status(), case.status())
        assert one["url"] == other["url"] == node.url
        assert asked == ["status"]
        await case.close()


async def test_all_who_ask_learn_that_there_is_none(tmp_path: Path) -> None:
    document = {"podman": {"url": f"unix://{tmp_path}/absent"}}
    case = Case(configuration(tmp_path, document))
    for _ in range(2):
        with pytest.raises(NotRunning):
            await case.status()
        with pytest.raises(EngineError):
            await case.engine()
    await case.close()
    await case.close()


async def test_one_who_gives_up_does_not_spoil_it_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def find(self: Connection) -> str:
        await go.wait()
        return "the engine"

    monkeypatch.setattr(Connection, "open", find)
    case = Case(configuration(tmp_path))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await case.engine()
    go.set()
    assert await case.engine() == "the engine"  # type: ignore[comparison-overlap]
    await case.close()


async def test_the_installed_service_has_a_user_and_a_podman_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "etc/infernet-edge/config.json"
    monkeypatch.setattr(module, "SYSTEM_FILES", (source,))
    case = Case(configuration(tmp_path), source, root=tmp_path)
    assert not case.is_service
    assert case.user == this_user()
    await case.close()
    unit = "[Service]\nUser=nobody\nExecStart=/bin/true\n"
    with_file(tmp_path, "etc/systemd/system/infernet-edge.service", unit)
    case = Case(configuration(tmp_path), source, root=tmp_path)
    assert case.is_service
    assert case.user == user_named("nobody")
    socket = tmp_path / "run/infernet-edge-podman/podman/podman.sock"
    assert case.config.podman.url == f"unix://{socket}"
    await case.close()
    case = Case(configuration(tmp_path), tmp_path / "other.json", root=tmp_path)
    assert not case.is_service
    await case.close()


@pytest.mark.parametrize(
    ("mistake", "lost", "kept"),
    [
        ("server.port", "server.port", "server.host"),
        ("server", "server.port", "storage.path"),
        ("chain.rpc_url[1]", "chain.rpc_url", "chain.enabled"),
        ("", "containers", "storage.path"),
        ("containers[0].image", "containers[0].image", "containers"),
        ("containers", "containers", "podman"),
    ],
)
async def test_what_mistakes_take_away(mistake: str, lost: str, kept: str, tmp_path: Path) -> None:
    problems = [Problem(mistake, "this", "that")]
    case = Case(configuration(tmp_path), tmp_path, problems=problems)
    assert case.lacks(lost)
    assert not case.lacks(kept)
    await case.close()
