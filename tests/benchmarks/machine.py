"""What is measured on, and when: the head of the table."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from tests.support.process import ROOT

_TIMEOUT = 30.0  # seconds for one program


class Machine(Struct, frozen=True):
    """The hardware. `disk` is the file system and the kind of device that the node writes to."""

    cpu: str
    cores: int
    memory_mebibytes: int
    disk: str

    @property
    def key(self) -> str:
        """What tables of the same machine have in common; another kernel does not change it."""
        return f"{self.cpu}, {self.cores} cores, {self.disk}"


class Run(Struct, frozen=True):
    """One run. `date` is in UTC, `load` the load average before it, `note` what a person adds."""

    machine: Machine
    kernel: str
    python: str
    commit: str
    date: str
    rounds: int
    load: float
    note: str = ""


def this_machine(folder: Path) -> Machine:
    """The machine that this runs on, with the disk of a folder."""
    memory = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_mebibytes=int(memory[1]) // 1024 if memory else 0,
        disk=_disk(folder),
    )


def this_run(machine: Machine, rounds: int, note: str = "") -> Run:
    """A run that begins now, of the commit that is checked out."""
    commit = _said("git", "rev-parse", "--short=10", "HEAD") or "unknown"
    changed = _said("git", "status", "--porcelain", "--untracked-files=no", "infernet_edge")
    return Run(
        machine=machine,
        kernel=platform.release(),
        python=platform.python_version(),
        commit=f"{commit}, changed" if changed else commit,
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        rounds=rounds,
        load=round(os.getloadavg()[0], 1),
        note=note,
    )


class Cores(Struct, frozen=True):
    """Which core is for what. With one core all are the same; with two, service and clients."""

    server: int
    clients: int
    service: int


def cores() -> Cores:
    """The first cores that this process may use, one for each side as far as they suffice."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[min(1, len(allowed) - 1)], allowed[min(2, len(allowed) - 1)])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """This thread, and what it starts, on one core, as long as the block runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpu() -> str:
    """The name of the processor; a Raspberry Pi says it in the device tree only."""
    model = Path("/proc/device-tree/model")
    if model.exists():
        return model.read_text(errors="replace").strip("\0 \n")
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return f"{found[1].strip() if found else 'unknown'} ({platform.machine()})"


def _disk(folder: Path) -> str:
    """File system and device: "ext4 on virtio disk", "ext4 on SD card", "tmpfs"."""
    words = _said("findmnt", "-n", "-o", "SOURCE,FSTYPE", "-T", str(folder)).split()
    if len(words) < 2:
        return "unknown"
    name, kind = Path(words[0]).name, words[-1]
    if not words[0].startswith("/dev/"):
        return kind
    for prefix, device in (("mmcblk", "SD card"), ("nvme", "NVMe"), ("vd", "virtio disk")):
        if name.startswith(prefix):
            return f"{kind} on {device}"
    rotates = Path(f"/sys/block/{name.rstrip('0123456789')}/queue/rotational")
    if rotates.exists():
        return f"{kind} on {'hard disk' if rotates.read_text().strip() == '1' else 'SSD'}"
    return f"{kind} on {name}"


def _said(*command: str) -> str:
    """What a program printed; nothing when it is missing or fails."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
