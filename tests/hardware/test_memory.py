"""How much memory the process may use, on machines and in cgroups that consist of files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infernet_edge.hardware.memory import (
    budget_of,
    keep_little_freed_memory,
    memory_limit,
    return_freed_memory,
)

GIB = 2**30
MACHINE = {"proc/meminfo": "MemTotal:        1048576 kB\nMemFree: 5 kB\n"}
V2 = {"proc/self/cgroup": "0::/system.slice/infernet-edge.service\n"}
FOLDER = "sys/fs/cgroup/system.slice"


def root_of(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, GIB // 2),  # a machine whose memory is not known
        (MACHINE, GIB),
        (MACHINE | V2, GIB),
        (MACHINE | V2 | {f"{FOLDER}/infernet-edge.service/memory.max": "max\n"}, GIB),
        (MACHINE | V2 | {f"{FOLDER}/infernet-edge.service/memory.max": "268435456\n"}, GIB // 4),
        # The limit of a group above counts as well.
        (MACHINE | V2 | {f"{FOLDER}/memory.max": "536870912\n"}, GIB // 2),
        # In a container the group is at the top of what is mounted.
        (
            MACHINE | {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n"},
            GIB // 4,
        ),
        # Version 1, where "no limit" is a very large number.
        (
            MACHINE
            | {
                "proc/self/cgroup": "5:cpu:/x\n4:cpuacct,memory:/a/b\n0::/\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "134217728\n",
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712\n",
            },
            GIB // 8,
        ),
        (MACHINE | {"proc/self/cgroup": "rubbish\n0::\n"}, GIB),
        ({"proc/meminfo": "MemTotal: many kB\n"}, GIB // 2),
    ],
)
def test_the_limit(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert memory_limit(root_of(tmp_path, files)) == expected


def test_this_machine_has_one() -> None:
    assert memory_limit() > 64 * 2**20


@pytest.mark.parametrize(
    ("memory", "budget"), [(GIB // 4, GIB // 16), (8 * GIB, GIB // 2), (GIB // 16, 48 * 2**20)]
)
def test_a_quarter_of_it_is_for_what_is_held(memory: int, budget: int) -> None:
    assert budget_of(memory, 48 * 2**20) == budget


FREED = """
from infernet_edge.hardware.memory import *
keep_little_freed_memory()
before = resident_memory()
blocks = [bytearray(b"x" * 2**20) for _ in range(64)]
print(resident_memory() - before)
del blocks
return_freed_memory()
print(resident_memory() - before)
"""


def test_freed_memory_is_released() -> None:
    """In a process of its own: this one has a heap of which much is free."""
    command = [sys.executable, "-c", FREED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    in_use, afterwards = map(int, done.stdout.split())
    assert in_use > 60 * 2**20
    assert afterwards < 8 * 2**20


def test_other_c_libraries_are_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    keep_little_freed_memory()
    return_freed_memory()
