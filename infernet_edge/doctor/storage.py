"""Can the node write where it keeps its jobs?"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from infernet_edge.doctor.case import Case, user_name
from infernet_edge.doctor.finding import Finding, ok, problem
from infernet_edge.hardware.disks import mount_of

NAME = "storage"


async def check(case: Case) -> Finding:
    """Look how its disk is mounted, and write a small file there."""
    return await case.blocking(_check_blocking, case.config.storage_path, case.root)


def _check_blocking(path: Path, root: Path) -> Finding:
    folder = nearest(path)
    mount = mount_of(folder, root)
    if mount is not None and mount.read_only:
        return problem(
            f"{mount.mount_point}, on which {path} is, is mounted for reading only. The kernel does"
            " that when an SD card or disk is failing",
            f"sudo mount -o remount,rw {mount.mount_point}; if that fails or it happens again, see"
            " dmesg and replace the card",
        )
    if not folder.is_dir():
        return problem(f"{folder} is no folder", "set storage.path to another one")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return problem(
            f"{user_name()} cannot write {folder} ({error.strerror})", _how_to_write(folder, path)
        )
    return ok(f"{path} can be written")


def _how_to_write(folder: Path, path: Path) -> str:
    user, owner = user_name(), _owner(folder)
    if folder != path:
        make = f"sudo install -d -m 700 -o {user} {path}"
        return f"run this as the node's user; if that is {user}: {make}"
    if owner != user:
        return f"run this as the node's user: sudo -u {owner} infernet-edge doctor"
    return f"chmod u+rwx {path}"


def _owner(folder: Path) -> str:
    try:
        return folder.owner()
    except KeyError:  # a user without an account
        return f"#{folder.stat().st_uid}"


def nearest(folder: Path) -> Path:
    """The folder, or the one in which it will be made. Blocks."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
