"""What a running container uses: its memory, and for how long it runs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from infernet_edge.containers.processes import read_beginning

_MAX_PROCESSES = 4096


class RunningContainer(NamedTuple):
    """A container that runs; its first process and its cgroup by Podman, 0 and "" if not known.

    `visible`: the process is one of this machine. `seconds`: since the node started or found it.
    """

    id: str
    pid: int
    visible: bool
    cgroup: str
    seconds: float


class ContainerUsage(NamedTuple):
    """Bytes of memory, None if not known, and seconds since the start."""

    memory: int | None
    seconds: float


def usage_of(container: RunningContainer, root: Path = Path("/")) -> ContainerUsage:
    """What it uses now, by the kernel; nothing is asked of Podman. Blocks for a moment."""
    memory, seconds = _of_cgroup(container, root), None
    if container.visible:
        seconds = _age(container.pid, root)
        memory = _of_processes(container.pid, root) if memory is None else memory
    return ContainerUsage(memory, container.seconds if seconds is None else seconds)


def _age(pid: int, root: Path) -> float | None:
    """Seconds since a process started, by proc(5): not by the clock, which may be set."""
    with contextlib.suppress(ValueError, IndexError):
        up = float(read_beginning(root / "proc/uptime").split()[0])
        started = int(_fields(pid, root)[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, up - started)
    return None


def _fields(pid: int, root: Path) -> list[str]:
    """The fields of /proc/PID/stat after the name, the third of proc(5) first."""
    return read_beginning(root / f"proc/{pid}/stat").rpartition(")")[2].split()


def _of_cgroup(container: RunningContainer, root: Path) -> int | None:
    """The memory of its cgroup, without files that are only cached."""
    for folder in _memory_folders(container, root):
        for name in ("memory.current", "memory.usage_in_bytes"):  # versions 2 and 1
            text = read_beginning(folder / name).strip()
            if text.isdigit():
                stat = read_beginning(folder / "memory.stat")
                cached = re.findall(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
                return max(0, int(text) - max(map(int, cached), default=0))
    return None


def _memory_folders(container: RunningContainer, root: Path) -> Iterable[Path]:
    paths = [container.cgroup]
    lines = read_beginning(root / f"proc/{container.pid}/cgroup").splitlines()
    for line in lines if container.visible else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            paths.append(path)
    for path in paths:
        if container.id in path:  # its own: without one it is in a group with others
            for top in ("sys/fs/cgroup", "sys/fs/cgroup/memory"):
                yield root / top / path.strip("/")


def _of_processes(pid: int, root: Path) -> int | None:
    """The resident memory of a process and all below it; what they share is counted repeatedly."""
    page, pending, total = os.sysconf("SC_PAGE_SIZE"), [pid], 0
    seen: set[int] = set()
    while pending and len(seen) < _MAX_PROCESSES:
        each = pending.pop()
        seen.add(each)
        fields = read_beginning(root / f"proc/{each}/statm").split()
        if len(fields) > 1:
            total += int(fields[1]) * page
        children = read_beginning(root / f"proc/{each}/task/{each}/children").split()
        pending += [int(child) for child in children if int(child) not in seen]
    return total or None
