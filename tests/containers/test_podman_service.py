from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from infernet_edge.config.model import Registry
from infernet_edge.containers import podman_service as module
from infernet_edge.containers.podman import Engine
from infernet_edge.containers.podman_service import Daemon, clean_environment
from infernet_edge.errors import EngineError
from tests.support.managing import eventually
from tests.support.podman import IsolatedPodman


@pytest.fixture
def environment(podman: IsolatedPodman, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in podman.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def short_path(podman: IsolatedPodman, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(podman.folder))
    return podman.folder


def fake_podman(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "podman"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("environment")
async def test_it_starts_answers_and_stops(short_path: Path) -> None:
    daemon = Daemon()
    assert not daemon.running
    await daemon.start()
    try:
        assert daemon.running
        assert daemon.url.startswith(f"unix://{short_path}/infernet-edge-")
        assert await asyncio.to_thread(Engine(daemon.url, Registry()).info)
        directory = Path(daemon.url.removeprefix("unix://")).parent
        assert directory.stat().st_mode & 0o777 == 0o700
    finally:
        await daemon.close()
    assert not daemon.running
    assert not directory.exists()
    await daemon.close()


@pytest.mark.usefixtures("environment")
async def test_it_stops_and_is_started_again_at_the_same_address() -> None:
    daemon = Daemon()
    await daemon.start()
    try:
        url = daemon.url
        await daemon.stop()
        assert not daemon.running
        await daemon.start()
        assert daemon.url == url
        assert await asyncio.to_thread(Engine(url, Registry()).info)
        # A folder that was removed is created again at another path.
        await daemon.stop()
        shutil.rmtree(Path(url.removeprefix("unix://")).parent)
        await daemon.start()
        assert daemon.url != url
    finally:
        await daemon.close()


@pytest.mark.usefixtures("environment")
async def test_it_exits_when_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a call leaves a connection open."""
    monkeypatch.setattr(module, "_LIFETIME", 1)
    daemon = Daemon()
    await daemon.start()
    try:
        engine = Engine(daemon.url, Registry())
        await asyncio.to_thread(engine.containers)
        assert daemon.process is not None
        await asyncio.wait_for(daemon.process.wait(), 30)
    finally:
        await daemon.close()


async def test_podman_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="apt-get install podman"):
        await Daemon().start()


async def test_its_output_is_reported_when_it_exits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_podman(tmp_path, "echo 'newuidmap: not permitted' >&2; exit 125", monkeypatch)
    daemon = Daemon()
    with pytest.raises(EngineError, match="ended: newuidmap: not permitted"):
        await daemon.start()
    await daemon.close()


async def test_a_second_process_that_it_leaves_behind_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without root Podman runs itself once more, and may end before the signal is handed on."""
    inner = "import socket, sys, time; s = socket.socket(1); s.bind(sys.argv[1][7:]); s.listen();"
    inner += "time.sleep(60)"
    script = f"{sys.executable} -c '{inner}' $4 & echo $! > {tmp_path}/inner; wait"
    fake_podman(tmp_path, script, monkeypatch)
    daemon = Daemon()
    await daemon.start()
    pid = int((tmp_path / "inner").read_text())
    await daemon.close()
    await eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


async def test_it_does_not_get_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_podman(tmp_path, "echo waiting for a lock >&2; exec sleep 60", monkeypatch)
    monkeypatch.setattr(module, "_START_TIMEOUT", 0.5)
    daemon = Daemon()
    with pytest.raises(EngineError, match=r"within 0\.5 seconds: waiting for a lock"):
        await daemon.start()
    assert not daemon.running


async def test_one_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = "import signal, sys, socket, time; signal.signal(15, signal.SIG_IGN);"
    script += "s = socket.socket(1); s.bind(sys.argv[1][7:]); s.listen(); time.sleep(60)"
    fake_podman(tmp_path, f"exec {sys.executable} -c '{script}' $4", monkeypatch)
    monkeypatch.setattr(module, "_STOP_TIMEOUT", 0.2)
    daemon = Daemon()
    await daemon.start()
    process = daemon.process
    await daemon.close()
    assert process is not None
    assert process.returncode == -9


def test_podman_does_not_get_systemds_variables() -> None:
    ours = {"PATH": "/bin", "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1"}
    assert clean_environment(ours) == {"PATH": "/bin"}
