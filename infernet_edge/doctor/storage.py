"""Can the node write its storage folder and its log?"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from infernet_edge.doctor.commands import as_owner, as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.user import User, owner_of, user_of
from infernet_edge.hardware.disks import mount_of

NAME = "storage"
NEEDS = ("storage.path",)

_FULL = ("No space left on device", "Disk quota exceeded")
_DENIED = "Permission denied"
_IMMUTABLE = "Operation not permitted"
HIDDEN = ("/home", "/root", "/run/user")  # from the service, by ProtectHome= (systemd.exec(5))
_MAX_FILES = 1000  # that are checked; a node has about ten


async def check(case: Case) -> list[Finding]:
    """Check how the disk is mounted, and write a small file there as the node's user."""
    if case.user is None:
        return [not_checked("the service's account does not exist")]
    found = [await case.blocking(_check_blocking, case, case.user)]
    if case.config.log.path and not case.is_wrong("log.path"):
        log = Path(case.config.log.path)
        found.append(await case.blocking(_check_log, log, case.user))
    return found


def _check_blocking(case: Case, user: User) -> Finding:
    path = case.config.storage_path.absolute()
    if case.is_service and any(path.is_relative_to(folder) for folder in HIDDEN):
        return problem(
            f"{path} is hidden from the service, as all of {', '.join(HIDDEN)} is",
            "set storage.path to a folder elsewhere, or leave it out",
        )
    folder = nearest(path)
    mount = mount_of(folder, case.root)
    if mount is not None and mount.read_only:
        return problem(
            f"{mount.mount_point}, on which {path} is, is mounted read-only. The kernel does"
            " that when an SD card or disk is failing",
            "if the command fails, or it happens again: replace the card; dmesg shows its errors",
            command=as_root("mount", "-o", "remount,rw", mount.mount_point),
        )
    if not folder.is_dir():
        return problem(f"{folder} is not a folder", "set storage.path to a folder")
    error = user.write_error(folder)
    if not error:
        return (
            _check_files(path, user)
            if folder == path
            else ok(f"{path} can be written by {user.name}")
        )
    text = f"{user.name} cannot write {folder} ({error})"
    if error in _FULL:
        return problem(text, "the disk is full: free space there, see the check space")
    if error not in (_DENIED, _IMMUTABLE):
        return problem(text, "the disk may be failing: dmesg shows its errors")
    blocking = _first_blocking_folder(folder, user)
    if blocking is not None:
        return problem(
            f"{text}: it may not enter {blocking}", "set storage.path to a folder elsewhere"
        )
    if folder != path:
        command = as_root("install", "-d", "-m", "700", "-o", user.name, path)
        return problem(text, command=command)
    return _about_folder(text, folder, user, error)


def _check_log(path: Path, user: User) -> Finding:
    """Check the folder of log.path; the node makes it."""
    folder = nearest(path.expanduser().absolute().parent)
    error = user.write_error(folder)
    if not error:
        return ok(f"the log {path} can be written by {user.name}")
    return problem(
        f"{user.name} cannot write the log {path} ({error})",
        f"set log.path to a file in a folder that {user.name} can write, or leave it out",
    )


def _about_folder(text: str, folder: Path, user: User, error: str) -> Finding:
    owner = owner_of(folder)
    if error == _IMMUTABLE:
        return problem(text, command=as_root("chattr", "-i", folder))
    if owner is None or owner.uid == user.uid:
        return problem(text, command=as_owner(owner, "chmod", "u+rwx", folder))
    if _is_of_a_node(folder):
        return problem(
            f"{text}: it belongs to {owner.name}",
            command=as_root("chown", "-R", f"{user.name}:", folder),
        )
    return problem(
        f"{text}: it belongs to {owner.name}, and contains other files than those of the node",
        f"set storage.path to a folder that only the node uses, such as {folder}/infernet-edge",
    )


def _check_files(path: Path, user: User) -> Finding:
    """Files that another user made, such as root with one `sudo infernet-edge run`."""
    try:
        files = list(itertools.islice(path.iterdir(), _MAX_FILES))
        foreign = [file for file in files if file.lstat().st_uid != user.uid]
    except OSError as error:
        return not_checked(f"the files in {path} cannot be read ({error.strerror})")
    ours = [file for file in foreign if _is_node_file(file)]
    if ours and user.uid != 0:
        owner = user_of(ours[0].lstat().st_uid)
        names = ", ".join(file.name for file in sorted(ours))
        return problem(
            f"{names} in {path} belong to {owner.name}, not to {user.name}",
            command=as_root("chown", f"{user.name}:", *sorted(ours)),
        )
    return ok(f"{path} can be written by {user.name}")


def _is_of_a_node(folder: Path) -> bool:
    """Whether it contains only files of a node, so that chown changes no others. Blocks."""
    try:
        return all(map(_is_node_file, itertools.islice(folder.iterdir(), _MAX_FILES)))
    except OSError:
        return False


def _is_node_file(file: Path) -> bool:
    return file.name.startswith("infernet-edge.sqlite") or file.name in ("lock", "control.sock")


def _first_blocking_folder(folder: Path, user: User) -> Path | None:
    above = reversed(folder.parents)
    return next((each for each in above if not user.may(each, "x")), None)


def nearest(folder: Path) -> Path:
    """The folder, or the nearest existing one above it. Blocks."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
