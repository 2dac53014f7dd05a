"""Can the node write where it keeps its jobs, and is there room?"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from infernet_edge.config.tree import Config
from infernet_edge.doctor.finding import Finding, ok, problem, warning

NAME = "storage"


async def check(config: Config) -> Finding:
    """Write a small file there and look at the free space."""
    return await asyncio.to_thread(_check_blocking, config)


def _check_blocking(config: Config) -> Finding:
    folder = _nearest(config.storage_path)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return problem(
            f"{folder} cannot be written ({error.strerror})",
            f"mount it writable, or give it to the node's user: chown $USER {folder}",
        )
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < config.storage.min_free_bytes:
        return problem(
            f"{free // 2**20} MiB are free at {folder}, new jobs need"
            f" {config.storage.min_free_bytes // 2**20} MiB (storage.min_free_bytes)",
            "make room, for instance with: podman image prune",
        )
    if disk.f_files and disk.f_favail < disk.f_files // 100:
        return warning(f"{folder} has hardly any inodes left", f"df -i {folder}")
    return ok(f"{config.storage_path} can be written, {free // 2**20} MiB are free")


def _nearest(folder: Path) -> Path:
    """The folder, or the one in which it will be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
