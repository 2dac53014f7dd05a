"""Is there enough space on the disk for new jobs?"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from infernet_edge.doctor.commands import as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.storage import nearest
from infernet_edge.hardware.disks import mount_of

NAME = "space"
NEEDS = ("storage.path", "storage.min_free_bytes", "storage.max_bytes")

_FEW_INODES = 1000  # jobs need none, but the database, logs and Podman's images do
_JOURNAL = "var/log/journal"
_JOURNAL_KEPT = 100 * 2**20  # bytes
_NAMED_FILES = 3  # in the text
_SCAN_TIME = 5.0  # seconds


async def check(case: Case) -> Finding:
    """Compare what is free with storage.min_free_bytes and storage.max_bytes."""
    return await case.blocking(_check_blocking, case)


def _check_blocking(case: Case) -> Finding:
    min_free, max_bytes = case.config.storage.min_free_bytes, case.config.storage.max_bytes
    folder = nearest(case.config.storage_path.absolute())
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    mount = mount_of(folder, case.root)
    place = Path(mount.mount_point if mount is not None else "/")
    if free < min_free:
        return _about_full_disk(
            f"{_mebibytes(free)} are free at {folder}, new jobs need {_mebibytes(min_free)}"
            " (storage.min_free_bytes)",
            place,
            min_free - free,
            case.root,
        )
    # Some file systems have no fixed number of inodes, and report 0.
    if disk.f_files and disk.f_favail < _FEW_INODES:
        finding = warning if disk.f_favail else problem
        return finding(
            f"{disk.f_favail} more files can be made at {folder} (inodes)",
            f"delete files below {place} that are not needed; the number of files matters,"
            " not their size",
        )
    if free < min_free + max_bytes:
        return ok(
            f"{_mebibytes(free)} are free; jobs may take {_mebibytes(max_bytes)}"
            " (storage.max_bytes)"
        )
    return ok(f"{_mebibytes(free)} are free")


def _about_full_disk(text: str, place: Path, wanted: int, root: Path) -> Finding:
    """With the command that frees enough, if old logs of the system are large enough."""
    logs = root / _JOURNAL
    if _is_on(logs, place) and sum(_sizes(logs).values()) - _JOURNAL_KEPT >= wanted:
        command = as_root("journalctl", "--rotate", "--vacuum-size=100M")
        return problem(f"{text}; old logs of the system use more", command=command)
    sizes = sorted(_sizes(place).items(), key=lambda item: -item[1])[:_NAMED_FILES]
    largest = ", ".join(f"{path} ({_mebibytes(size)})" for path, size in sizes if size >= 2**20)
    return problem(
        text,
        f"delete files that are not needed on the disk at {place}, {_mebibytes(wanted + 2**20 - 1)}"
        f" or more; the largest: {largest or 'hidden from this user'}",
    )


def _is_on(path: Path, place: Path) -> bool:
    try:
        return path.stat().st_dev == place.stat().st_dev
    except OSError:
        return False


def _sizes(place: Path) -> dict[Path, int]:
    """Bytes on the disk of each file and folder in `place`, or less when the time is up."""
    sizes: dict[Path, int] = {}
    try:
        device = place.stat().st_dev
        entries = [Path(entry.path) for entry in os.scandir(place)]
    except OSError:
        return {}
    for entry in entries:
        waiting = [str(entry)]
        give_up_at = time.monotonic() + _SCAN_TIME / len(entries)
        while waiting and time.monotonic() < give_up_at:
            path = waiting.pop()
            try:
                found = os.lstat(path)
                if found.st_dev != device:
                    continue
                sizes[entry] = sizes.get(entry, 0) + found.st_blocks * 512
                if stat.S_ISDIR(found.st_mode):
                    waiting += [inner.path for inner in os.scandir(path)]
            except OSError:  # it was removed, or is hidden
                continue
    return sizes


def _mebibytes(size: int) -> str:
    return f"{size // 2**20} MiB"
