from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from infernet_edge.config.model import Config, Podman
from infernet_edge.containers import connection as module
from infernet_edge.containers.blocking import EngineUnreachable, Threads
from infernet_edge.containers.connection import Connection, standard_sockets
from infernet_edge.errors import EngineError
from tests.support.managing import eventually
from tests.support.podman import IsolatedPodman


def use_sockets(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    monkeypatch.setattr(module, "standard_sockets", lambda environment: list(paths))


def test_the_users_socket_comes_before_the_systems() -> None:
    assert standard_sockets({"XDG_RUNTIME_DIR": "/run/user/1"}) == [
        Path("/run/user/1/podman/podman.sock"),
        Path("/run/podman/podman.sock"),
    ]
    assert standard_sockets({})[0] == Path(f"/run/user/{os.getuid()}/podman/podman.sock")


async def test_the_first_socket_that_answers_is_used(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-socket").write_text("")
    use_sockets(monkeypatch, tmp_path / "absent", tmp_path / "no-socket", podman.socket)
    connection = Connection(Config(), Threads())
    assert (await connection.open()).url == podman.url
    assert connection.info.version
    await connection.close()


async def test_callers_wait_until_the_engine_is_ready(podman: IsolatedPodman) -> None:
    connection = Connection(Config(podman=Podman(url=podman.url)), Threads())
    waiting = asyncio.create_task(connection.ready())
    engine = await connection.open()
    await asyncio.sleep(0)
    assert not waiting.done()
    connection.set_ready()
    assert await waiting is engine
    connection.set_lost("gone")
    assert connection.problem == "gone"
    waiting = asyncio.create_task(connection.ready())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()


async def test_a_configured_address_is_the_only_one(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_sockets(monkeypatch, podman.socket)
    connection = Connection(Config(podman=Podman(url=f"unix://{tmp_path}/absent")), Threads())
    with pytest.raises(EngineError, match=r"absent.*Check podman\.url"):
        await connection.open()


async def test_without_podman_the_error_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_sockets(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="apt-get install podman"):
        await Connection(Config(), Threads()).open()


async def test_the_podman_of_another_user_is_not_replaced_by_the_nodes_own(
    podman: IsolatedPodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has the node's containers; ones own would start them a second time."""
    use_sockets(monkeypatch, podman.socket)
    connection = Connection(Config(), Threads())
    await connection.open()
    monkeypatch.setattr("os.getuid", lambda: podman.socket.stat().st_uid + 1)
    use_sockets(monkeypatch, tmp_path / "absent")
    with pytest.raises(EngineError, match="socket does not exist"):
        await connection.open()
    assert not connection.daemon.running


@pytest.fixture
def own(podman: IsolatedPodman, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection that has to start Podman by itself."""
    use_sockets(monkeypatch)
    for name, value in podman.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.3)
    return Connection(Config(), Threads())


async def test_the_nodes_own_service_stops_when_idle_and_is_started_for_the_next_call(
    own: Connection,
) -> None:
    engine = await own.open()
    assert await own.run(30, engine.containers, "none") == []
    await eventually(lambda: not own.daemon.running, 10)
    found = await asyncio.gather(*(own.run(30, engine.containers, "none") for _ in range(5)))
    assert found == [[]] * 5
    assert own.daemon.running
    await own.close()
    assert not own.daemon.running


async def test_it_does_not_stop_during_a_long_call(own: Connection) -> None:
    await own.open()
    begun = asyncio.Event()

    async def take_long() -> None:
        async with own.in_use():
            begun.set()
            await asyncio.sleep(1.5)

    calling = asyncio.create_task(take_long())
    await begun.wait()
    await own.run(30, time.sleep, 0)
    process = own.daemon.process
    await calling
    assert own.daemon.running
    assert own.daemon.process is process
    await eventually(lambda: not own.daemon.running, 10)
    await own.close()


async def test_a_service_that_cannot_be_started_again_is_not_reachable(
    own: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await own.open()
    await own.run(30, engine.containers)
    await eventually(lambda: not own.daemon.running, 10)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnreachable, match="apt-get install podman"):
        await own.run(30, engine.containers)
    await own.close()


async def test_the_end_of_a_service_without_a_socket_unit_is_detected(
    podman: IsolatedPodman,
) -> None:
    connection = Connection(Config(podman=Podman(url=podman.url)), Threads())
    await connection.open()
    assert not connection.check_requested.is_set()
    podman.kill_service()
    await asyncio.wait_for(connection.check_requested.wait(), 5)
    await connection.close()
