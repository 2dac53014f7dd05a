"""How much memory this process may use, and how to release freed memory to the system."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PART = 4  # one fourth of the memory is for requests, inputs, outputs and answers
_MAX_BUDGET = 512 * 2**20  # bytes; the rest is for the models
_UNKNOWN = 512 * 2**20  # bytes that are assumed when the machine's memory is not known
# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Bytes; glibc's defaults are 128 KiB, raised over time to 32 MiB and twice that unless one is set.
# Each larger block is mapped again, and its pages cost more time than what is copied into them.
_LARGE, _KEPT_AT_END = 2**20, 4 * 2**20


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes that this process may use: the machine's memory, or less where a cgroup limits it.

    Reads proc_meminfo(5) and the files of cgroups(7), versions 1 and 2. Blocks for a moment.
    """
    sizes = [_machine(root), *_cgroups(root)]
    return min((size for size in sizes if size), default=_UNKNOWN)


def budget_of(memory: int, minimum: int) -> int:
    """Bytes that the node may hold for requests, if the process may use `memory` bytes."""
    return max(min(memory // _PART, _MAX_BUDGET), minimum)


def keep_little_freed_memory() -> None:
    """Make glibc release large blocks to the system as soon as they are freed.

    By default it keeps freed blocks of up to 32 MiB once such a block was used, and a heap for each
    thread. Other C libraries have no such parameters.
    """
    if (mallopt := _from_libc("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_AT_END)
        mallopt(_M_ARENA_MAX, 2)


def return_freed_memory() -> None:
    """Release the memory of freed small blocks to the system, malloc_trim(3). Blocks for a moment.

    Reference cycles, such as those of a closed connection, are collected before.
    """
    gc.collect()
    if (trim := _from_libc("malloc_trim")) is not None:
        trim(0)


def resident_memory() -> int:
    """Bytes of this process in memory (statm in proc(5)); 0 if not known. Blocks."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()


def _from_libc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None


def _machine(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text("ascii", "replace").splitlines()
        pairs = dict(line.partition(":")[::2] for line in lines)
        return 1024 * int(pairs["MemTotal"].split()[0])
    except (OSError, KeyError, ValueError, IndexError):
        return 0


def _cgroups(root: Path) -> Iterator[int]:
    """The limits of the process's cgroup and of those above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        folder = top / path.lstrip("/")
        for each in (folder, *folder.parents):
            if top not in (each, *each.parents):
                break
            yield _number(each / name)


def _number(file: Path) -> int:
    """A limit; 0 where there is none, which version 2 calls "max"."""
    try:
        text = file.read_text("ascii", "replace").strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
