"""Is there enough memory for the containers?"""

from __future__ import annotations

import heapq
from pathlib import Path

from infernet_edge.config.rules import size_in_bytes
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, warning

NAME = "memory"
NEEDS = ()

_LITTLE = 64 * 2**20  # bytes; a working node needs about as much
_NAMED_PROGRAMS = 3  # programs in the text


async def check(case: Case) -> Finding:
    """Compare the machine's memory with what is free and with the containers' limits."""
    try:
        total, available, swap = await case.blocking(_read, case.root)
    except (OSError, KeyError, ValueError, IndexError):
        return not_checked("/proc/meminfo cannot be read")
    sizes = (
        f"{_mebibytes(available)} of {_mebibytes(total)} are available, with"
        f" {_mebibytes(swap)} of swap"
    )
    if available < _LITTLE:
        largest = await case.blocking(_largest_programs)
        return warning(
            f"{sizes}: the kernel will soon kill programs",
            f"stop programs that are not needed; the largest are {largest}",
        )
    limited = case.managed_with("memory")
    limits = sum(size_in_bytes(each.memory) for each in limited if each.memory)
    if limits > total:
        return warning(
            f"the containers may take {_mebibytes(limits)}, and this machine has"
            f" {_mebibytes(total)}",
            "lower containers[].memory, until the containers and the system fit into it",
        )
    return ok(sizes)


def _read(root: Path) -> tuple[int, int, int]:
    """Bytes in all, available and of swap (proc_meminfo(5)). Blocks."""
    lines = (root / "proc/meminfo").read_text("ascii", "replace").splitlines()
    pairs = (line.partition(":") for line in lines)
    sizes = {name: 1024 * int(value.split()[0]) for name, _, value in pairs}
    return sizes["MemTotal"], sizes["MemAvailable"], sizes["SwapTotal"]


def _largest_programs() -> str:
    """Names, process ids and sizes. Blocks."""
    import psutil

    found = [
        (process.info["memory_info"].rss, process.info["name"], process.pid)
        for process in psutil.process_iter(["name", "memory_info"])
        if process.info["memory_info"] is not None
    ]
    largest = heapq.nlargest(_NAMED_PROGRAMS, found)
    return ", ".join(f"{name} ({pid}, {_mebibytes(size)})" for size, name, pid in largest)


def _mebibytes(size: int) -> str:
    return f"{size // 2**20} MiB"
