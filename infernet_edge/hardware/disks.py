"""The disks: every real filesystem once, with its sizes in bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from infernet_edge.schema import DiskInfo

IMAGES = {"squashfs", "erofs", "cramfs", "iso9660", "udf"}
"""Read-only images (snaps, installation media): on a block device, but without free space."""

IN_MEMORY = {"tmpfs", "ramfs", "rootfs", "devtmpfs"}


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).

    `device` is major:minor, the same for all mounts of one filesystem; `subtree` is the part of
    the filesystem that is mounted, other than "/" for a bind mount or a btrfs subvolume.
    """

    device: str
    subtree: str
    mount_point: str
    filesystem: str
    read_only: bool = False


class Usage(NamedTuple):
    """Bytes of a filesystem; `available` is what an ordinary user can still write."""

    size: int
    used: int
    available: int


def disk_usage(mount_point: str) -> Usage | None:
    """Sizes of what is mounted there; None where that is not a readable directory. Blocks."""
    import psutil

    try:
        if not Path(mount_point).is_dir():
            return None  # a bind mount of a single file, such as a container's /etc/hosts
        usage = psutil.disk_usage(mount_point)
    except OSError:
        return None
    return Usage(usage.total, usage.used, usage.free)


def read_disks(root: Path, usage_of: Callable[[str], Usage | None] = disk_usage) -> list[DiskInfo]:
    """The real filesystems that are mounted, by mount point. Blocks, and may hang on a bad disk."""
    disks: dict[str, DiskInfo] = {}
    for mount in sorted(real_mounts(root), key=_preference):
        if mount.device in disks:
            continue
        usage = usage_of(mount.mount_point)
        if usage and usage.size:
            disks[mount.device] = DiskInfo(
                available=usage.available,
                filesystem=mount.filesystem,
                mount_point=mount.mount_point,
                size=usage.size,
                used=usage.used,
            )
    return sorted(disks.values(), key=lambda disk: disk.mount_point)


def mount_of(path: Path, root: Path) -> Mount | None:
    """The mount that contains `path`; None if it is not known. Blocks."""
    try:
        lines = (root / "proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    visible = _visible(lines)
    path = path.resolve()
    return next((visible[str(at)] for at in (path, *path.parents) if str(at) in visible), None)


def real_mounts(root: Path) -> list[Mount]:
    """The mounts of disks, and "/" on any filesystem (overlay, NFS) except one in memory."""
    try:
        lines = (root / "proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
        listed = (root / "proc/filesystems").read_text("utf-8", "replace").splitlines()
    except OSError:
        return _mounts_by_psutil()
    # ZFS manages its disks itself, so the kernel lists it among those without a device.
    on_disk = {line.strip() for line in listed if not line.startswith("nodev")} | {"zfs"}
    return [
        mount
        for mount in _visible(lines).values()
        if mount.filesystem in on_disk - IMAGES
        or (mount.mount_point == "/" and mount.filesystem not in IN_MEMORY)
    ]


def _visible(lines: Iterable[str]) -> dict[str, Mount]:
    """The mounts by mount point; the last one at a mount point hides the earlier ones."""
    return {mount.mount_point: mount for mount in map(_parse, lines) if mount}


def _parse(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields, source = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6:
        return None
    # The options of this mount, and in the last field those of the whole filesystem.
    options = {*fields[5].split(","), *source[-1].split(",")}
    return Mount(
        fields[2], _unescaped(fields[3]), _unescaped(fields[4]), source[0], "ro" in options
    )


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _preference(mount: Mount) -> tuple[bool, bool, int]:
    """Sort key that selects one mount of a filesystem: "/", then a whole one, then a short path."""
    return mount.mount_point != "/", mount.subtree != "/", len(mount.mount_point)


def _mounts_by_psutil() -> list[Mount]:
    """The mounts on a system without /proc."""
    import psutil

    return [
        Mount(disk.device, "/", disk.mountpoint, disk.fstype) for disk in psutil.disk_partitions()
    ]
