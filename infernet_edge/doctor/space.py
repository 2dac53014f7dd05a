"""Is there room on the disk for new jobs?"""

from __future__ import annotations

import os
from pathlib import Path

from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.storage import nearest

NAME = "space"
_FEW_INODES = 1000  # jobs need none, but their database, logs and Podman's images do


async def check(case: Case) -> Finding:
    """Compare what is free with storage.min_free_bytes and storage.max_bytes."""
    storage = case.config.storage
    path = case.config.storage_path
    return await case.blocking(_check_blocking, path, storage.min_free_bytes, storage.max_bytes)


def _check_blocking(path: Path, least: int, most: int) -> Finding:
    folder = nearest(path)
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < least:
        return problem(
            f"{_mebibytes(free)} are free at {folder}, new jobs need {_mebibytes(least)}"
            " (storage.min_free_bytes)",
            _MAKE_ROOM,
        )
    # Some file systems have no fixed number of inodes, and say 0.
    if disk.f_files and disk.f_favail < _FEW_INODES:
        finding = warning if disk.f_favail else problem
        return finding(
            f"{disk.f_favail} more files can be made at {folder} (inodes)",
            f"remove files that are not needed; sudo du --inodes -x {folder} | sort -n | tail"
            " finds them",
        )
    if free < least + most:
        return ok(
            f"{_mebibytes(free)} are free; jobs may take {_mebibytes(most)} (storage.max_bytes)"
        )
    return ok(f"{_mebibytes(free)} are free")


def _mebibytes(size: int) -> str:
    return f"{size // 2**20} MiB"


_MAKE_ROOM = "make room: podman image prune; journalctl --vacuum-size=100M"
