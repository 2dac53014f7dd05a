"""CPU and memory of containers: rounds are shared, and Podman is asked for what is hidden."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.model import Config
from infernet_edge.containers.blocking import Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.operating import sampling
from infernet_edge.containers.operating.sampling import Sampler
from infernet_edge.containers.supervision import usage
from infernet_edge.containers.supervision.usage import RunningContainer
from tests.support.managing import configuration, container, eventually, managing
from tests.support.podman import IsolatedPodman

OWN = RunningContainer("own", os.getpid(), True, "", 1.0)


def sampler(running: dict[str, RunningContainer]) -> Sampler:
    return Sampler(Connection(Config(), Threads()), lambda: running)


async def test_requests_at_the_same_time_share_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def usage_of(container: RunningContainer) -> Any:
        reads.append(container.id)
        return usage.usage_of(container)

    monkeypatch.setattr(sampling, "usage_of", usage_of)
    watched = sampler({"a": OWN})
    answers = await asyncio.gather(*(watched.uses() for _ in range(20)))
    assert len(reads) == 2  # there was no earlier sample
    assert all(answer is answers[0] for answer in answers)
    await watched.uses()
    assert len(reads) == 2
    monkeypatch.setattr(sampling, "_KEPT", 0.0)
    watched = sampler({"a": OWN})
    await watched.uses()
    await watched.uses()
    assert len(reads) == 5


async def test_podman_is_asked_once_for_each_that_is_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def usage_of(container: RunningContainer) -> usage.ContainerUsage:
        return usage.ContainerUsage(1, 1.0, 1.0, paused=container.id in paused)

    monkeypatch.setattr(sampling, "usage_of", usage_of)
    monkeypatch.setattr(sampling, "_KEPT", 0.0)
    connection, paused = Connection(Config(), Threads()), {"b"}
    running = {"a": OWN, "b": OWN._replace(id="b"), "c": OWN._replace(id="c")}
    watched, requested = Sampler(connection, lambda: running), connection.check_requested
    for more, expected in (("b", True), ("b", False), ("c", True), ("c", False)):
        paused.add(more)
        requested.clear()
        await watched.uses()
        assert requested.is_set() is expected


async def test_one_that_was_paused_by_hand_is_not_shown_as_ready(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading what is used shows that, long before Podman is asked for all containers."""
    monkeypatch.setattr(sampling, "_KEPT", 0.0)
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        operations, service = managed.manager.operations, managed.services["echo"]
        assert "echo" in await operations.uses()
        name = podman.containers()[0]
        before = podman.inspect(name)["Id"]
        podman.run("pause", name)
        await operations.uses()
        await eventually(lambda: service.state != "ready", 10)
        await eventually(lambda: service.state == "ready")
        assert podman.inspect(name)["Id"] != before
        assert (await managed.call("echo", 1))["output"] == 1


async def test_the_percentage_is_that_of_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_INTERVAL", 0.0)
    monkeypatch.setattr(sampling, "_KEPT", 0.0)
    watched = sampler({"a": OWN})
    await watched.uses()
    until = time.process_time() + 0.5
    while time.process_time() < until:
        pass
    use = (await watched.uses())["a"]
    assert use.cpu_percent is not None
    assert 20 < use.cpu_percent < 130
    assert use.memory is not None
    assert use.memory > 2**20


async def test_nothing_is_known_of_a_hidden_container_without_podman() -> None:
    hidden = RunningContainer("hidden", 1, False, "", 1.0)
    assert await sampler({"a": hidden}).uses() == {"a": (None, None)}


async def test_podman_is_asked_for_a_hidden_container(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        identifier = podman.inspect(podman.containers()[0])["Id"]
        hidden = RunningContainer(identifier, 0, False, "", 1.0)
        watched = Sampler(managed.manager.connection, lambda: {"echo": hidden})
        use = (await watched.uses())["echo"]
        assert use.memory is not None
        assert 2**20 < use.memory < 2**30
        assert use.cpu_percent is not None
        assert 0 <= use.cpu_percent < 400
