"""What a process uses, from /proc: CPU time, memory, bytes written (proc(5))."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import psutil
from msgspec import Struct


class Memory(Struct, frozen=True):
    """Bytes. `pss` counts a page that several processes share in parts, `rss` in full for each."""

    pss: int
    rss: int


class Counters(Struct, frozen=True):
    """What has been used since the start.

    `cpu` in seconds; `disk` in bytes that went to a block device; `written` in bytes passed to
    write calls, sockets included.
    """

    cpu: float
    disk: int
    written: int

    def __sub__(self, before: Counters) -> Counters:
        return Counters(
            self.cpu - before.cpu, self.disk - before.disk, self.written - before.written
        )


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def memory(pid: int) -> Memory:
    """Memory of the process and of those that it started."""
    pss = rss = 0
    for process in _tree(pid):
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        sizes = {name: int(size) * 1024 for name, size in re.findall(r"(\w+): +(\d+) kB", rollup)}
        pss += sizes["Pss"]
        rss += sizes["Rss"]
    return Memory(pss, rss)


def counters(pid: int) -> Counters:
    """CPU time and writes of the process and of those that it started."""
    cpu = 0.0
    disk = written = 0
    for process in _tree(pid):
        cpu += cpu_seconds(process.pid)
        io = dict(re.findall(r"(\w+): (\d+)", Path(f"/proc/{process.pid}/io").read_text()))
        disk += int(io["write_bytes"])
        written += int(io["wchar"])
    return Counters(cpu, disk, written)


def wake_ups(pid: int) -> int:
    """How often the threads of a process were given a CPU so far; 0 when it has ended."""
    found = 0
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                status = (thread / "status").read_text()
                found += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status)))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, to the nanosecond, with the threads that have ended.

    By the clock that clock_getcpuclockid(3) names: the bits of Linux' CPUCLOCK_SCHED.
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def forget_peak(pid: int) -> None:
    """Let the peak of the resident memory begin again at what is resident now (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> int:
    """The greatest resident memory so far, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
