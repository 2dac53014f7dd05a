"""Detect the end of a process of this machine immediately, without polling.

A pidfd (pidfd_open(2)) becomes readable when its process ends. Opening one needs no permission for
the process and no /proc, so it works for containers of root, too, and where systemd hides processes
(ProtectProc=).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

_READ_BYTES = 64 * 2**10  # of a file below /proc or /sys


class ContainerProcess(NamedTuple):
    """The first process of a running container, by Podman; 0 and "" if not known."""

    pid: int
    conmon_pid: int
    cgroup: str  # its path in the hierarchy, "" without cgroups


class WatchedProcess:
    """Calls `on_end` once, in the event loop, when the process has ended; not after `close()`."""

    def __init__(self, pidfd: int, on_end: Callable[[], None]) -> None:
        self._pidfd = pidfd
        self._on_end = on_end
        asyncio.get_running_loop().add_reader(pidfd, self._ended)

    @classmethod
    def open(cls, pid: int, on_end: Callable[[], None]) -> Self | None:
        """Watch a process; None if it does not exist, or the kernel (before 5.3) has no pidfds."""
        pidfd = _open(pid)
        return None if pidfd is None else cls(pidfd, on_end)

    @classmethod
    def open_container(
        cls, container_id: str, process: ContainerProcess, on_end: Callable[[], None]
    ) -> Self | None:
        """Watch the first process of a container.

        None as well if it cannot be verified that the process with this number is the container's:
        Podman may run on another machine or in another pid namespace, or the number may have been
        assigned to another process since Podman reported it.
        """
        pidfd = _open(process.pid)
        if pidfd is None:
            return None
        # Checked after opening: if the container has the number now, the pidfd is the container's.
        if not _is_of_container(container_id, process):
            os.close(pidfd)
            return None
        return cls(pidfd, on_end)

    def close(self) -> None:
        """Stop watching. May be called twice."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _ended(self) -> None:
        self.close()
        self._on_end()


def listener_pid(path: str, timeout: float) -> int:
    """The process that created the socket at `path` (systemd, for those of its units), or 0.

    Blocks for `timeout` seconds at most. See SO_PEERCRED in unix(7).
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(timeout)
        attempt.connect(path)
        credentials = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("3i", credentials)[0])
    return 0


def _open(pid: int) -> int | None:
    if pid <= 0 or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _is_of_container(container_id: str, process: ContainerProcess) -> bool:
    """Whether the process with this number is the container's, by proc(5). Does not block."""
    pid = process.pid
    if container_id in read_beginning(Path(f"/proc/{pid}/cgroup")):
        return True
    # Without its own cgroup it is identified by its parent, Podman's conmon.
    if container_id in read_beginning(Path(f"/proc/{process.conmon_pid}/cmdline")):
        _, _, after_name = read_beginning(Path(f"/proc/{pid}/stat")).rpartition(")")
        return after_name.split()[1:2] == [str(process.conmon_pid)]
    # Where /proc hides the processes of others, cgroups still list them.
    if container_id not in process.cgroup:
        return False
    return any(str(pid) in read_beginning(each).split() for each in _process_lists(process.cgroup))


def _process_lists(cgroup: str) -> Iterator[Path]:
    """The files that list a cgroup's processes: version 2, else each hierarchy of version 1."""
    root, below = Path("/sys/fs/cgroup"), cgroup.lstrip("/")
    with contextlib.suppress(OSError):
        hierarchies = [root, *(path for path in root.iterdir() if path.is_dir())]
        for hierarchy in hierarchies:
            for folder in (hierarchy / below, hierarchy / below / "container"):  # crun's
                yield folder / "cgroup.procs"


def read_beginning(path: Path) -> str:
    """The first _READ_BYTES of a file below /proc or /sys; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_READ_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
