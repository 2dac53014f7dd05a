from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import pytest

from infernet_edge.containers import processes
from infernet_edge.containers.processes import ContainerProcess, WatchedProcess, listener_pid
from tests.support.podman import IsolatedPodman

ID = "f" * 64


async def test_the_end_of_a_process_is_detected_once() -> None:
    ended: list[float] = []
    with subprocess.Popen(["sleep", "60"]) as process:
        watched = WatchedProcess.open(process.pid, lambda: ended.append(1))
        assert watched is not None
        await asyncio.sleep(0.05)
        assert ended == []
        process.kill()
        await asyncio.sleep(0.05)
        assert ended == [1]
        await asyncio.sleep(0.05)
        assert ended == [1]
        watched.close()
        watched.close()


async def test_nothing_is_detected_after_the_close() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        open_files = len(list(Path("/proc/self/fd").iterdir()))
        watched = WatchedProcess.open(process.pid, lambda: pytest.fail("closed"))
        assert watched is not None
        watched.close()
        assert len(list(Path("/proc/self/fd").iterdir())) == open_files
        process.kill()
        await asyncio.sleep(0.05)


async def test_numbers_that_are_not_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (0, -1, 2**22 + 1):
        assert WatchedProcess.open(pid, lambda: None) is None
    monkeypatch.delattr(os, "pidfd_open")
    assert WatchedProcess.open(os.getpid(), lambda: None) is None


async def test_the_process_of_a_container_is_identified_in_three_ways(
    podman: IsolatedPodman, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = podman.run("run", "--detach", podman.echo_image())
    state = podman.inspect(container)["State"]
    whole = ContainerProcess(state["Pid"], state["ConmonPid"], state.get("CgroupPath") or "")

    def seen(process: ContainerProcess, of: str = container) -> bool:
        watched = WatchedProcess.open_container(of, process, lambda: None)
        if watched is not None:
            watched.close()
        return watched is not None

    assert seen(whole)
    assert not seen(whole, ID)
    # That number is another process's, as it may be where Podman runs on another machine.
    assert not seen(whole._replace(pid=os.getpid()))
    real = processes.read_beginning

    def hidden(*beginnings: str) -> None:
        """As if these files were not to be seen."""

        def read(path: Path) -> str:
            return "" if str(path).startswith(beginnings) else real(path)

        monkeypatch.setattr(processes, "read_beginning", read)

    hidden("/proc")  # ProtectProc=invisible
    assert seen(whole) is bool(whole.cgroup)
    assert not seen(whole._replace(pid=os.getpid()))
    assert not seen(whole, ID)
    hidden("/sys", f"/proc/{whole.pid}/cgroup")  # Podman without root on cgroups of version 1
    assert seen(whole)
    assert not seen(whole, ID)
    assert not seen(whole._replace(pid=os.getpid()))
    hidden("/proc", "/sys")
    assert not seen(whole)


def test_the_process_that_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    assert listener_pid(path, 1) == 0
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert listener_pid(path, 1) == 0
        listener.listen()
        assert listener_pid(path, 1) == os.getpid()
