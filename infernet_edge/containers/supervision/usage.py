"""What a running container uses: memory, time of processors, and for how long it runs."""

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
    """Bytes of memory, seconds since the start, and seconds of processors; None if not known.

    `paused`: the kernel runs none of its processes, since another program has stopped them so.
    """

    memory: int | None
    seconds: float
    cpu: float | None = None
    paused: bool = False


def usage_of(container: RunningContainer, root: Path = Path("/")) -> ContainerUsage:
    """What it uses now, by the kernel; nothing is asked of Podman. Blocks for a moment."""
    memory, cpu, seconds = _of_cgroup(container, root), _cpu_of_cgroup(container, root), None
    if container.visible:
        seconds = _age(container.pid, root)
        processes = [] if None not in (memory, cpu) else _processes(container.pid, root)
        memory = _memory_of(processes, root) if memory is None else memory
        cpu = _cpu_of(processes, root) if cpu is None else cpu
    seconds = container.seconds if seconds is None else seconds
    return ContainerUsage(memory, seconds, cpu, _is_paused(container, root))


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
    for folder in _folders(container, root, "memory"):
        for name in ("memory.current", "memory.usage_in_bytes"):  # versions 2 and 1
            text = read_beginning(folder / name).strip()
            if text.isdigit():
                stat = read_beginning(folder / "memory.stat")
                cached = re.findall(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
                return max(0, int(text) - max(map(int, cached), default=0))
    return None


def _cpu_of_cgroup(container: RunningContainer, root: Path) -> float | None:
    """The seconds of processors that its cgroup has used since it was made."""
    for folder in _folders(container, root, "cpuacct"):
        if found := re.search(r"^usage_usec (\d+)$", read_beginning(folder / "cpu.stat"), re.M):
            return int(found[1]) / 1e6  # version 2
        text = read_beginning(folder / "cpuacct.usage").strip()
        if text.isdigit():
            return int(text) / 1e9  # version 1
    return None


def _is_paused(container: RunningContainer, root: Path) -> bool:
    """Whether its cgroup is frozen: cgroup.events of version 2, freezer.state of version 1."""
    return any(
        re.search(r"^frozen 1$", read_beginning(folder / "cgroup.events"), re.MULTILINE)
        or read_beginning(folder / "freezer.state").strip() == "FROZEN"
        for folder in _folders(container, root, "freezer")
    )


def _folders(container: RunningContainer, root: Path, controller: str) -> Iterable[Path]:
    """Where its cgroup may be: version 2, else the hierarchy of a controller of version 1."""
    paths = [container.cgroup]
    lines = read_beginning(root / f"proc/{container.pid}/cgroup").splitlines()
    for line in lines if container.visible else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            paths.append(path)
    for path in paths:
        if container.id in path:  # its own: without one it is in a group with others
            for top in ("sys/fs/cgroup", f"sys/fs/cgroup/{controller}"):
                yield root / top / path.strip("/")


def _processes(pid: int, root: Path) -> list[int]:
    """A process and all below it."""
    pending, seen = [pid], {pid: None}
    while pending and len(seen) < _MAX_PROCESSES:
        each = pending.pop()
        children = read_beginning(root / f"proc/{each}/task/{each}/children").split()
        new = [int(child) for child in children if int(child) not in seen]
        seen |= dict.fromkeys(new)
        pending += new
    return list(seen)


def _memory_of(processes: Iterable[int], root: Path) -> int | None:
    """The resident memory of processes; what they share is counted repeatedly."""
    page, total = os.sysconf("SC_PAGE_SIZE"), 0
    for each in processes:
        fields = read_beginning(root / f"proc/{each}/statm").split()
        total += int(fields[1]) * page if len(fields) > 1 else 0
    return total or None


def _cpu_of(processes: Iterable[int], root: Path) -> float | None:
    """The seconds of processors of processes, and of those that they have waited for."""
    found = [_fields(each, root)[11:15] for each in processes]
    ticks = [sum(map(int, each)) for each in found if len(each) == 4]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None
