"""Do the folders of volumes exist, and may the containers use them?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from infernet_edge.config.model import Container
from infernet_edge.containers.specification import is_named_volume
from infernet_edge.doctor.commands import as_owner, as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.storage import nearest
from infernet_edge.doctor.user import CannotCheck, User, owner_of, user_of
from infernet_edge.hardware.disks import mount_of

NAME = "volumes"
NEEDS = ("containers", "manage_containers", "podman")


class Bind(NamedTuple):
    """A file or folder of this machine that is mounted in a container."""

    container: str
    path: Path
    writable: bool


async def check(case: Case) -> list[Finding]:
    """Check that each exists, and that the user of the containers may use it."""
    binds = [bind for each in case.managed_with("volumes") for bind in _binds(case, each)]
    if not binds:
        return [ok("not needed: no container has a folder of this machine")]
    url = case.config.podman.url
    if url and not url.startswith("unix:"):
        return [not_checked("Podman runs on another machine, and so are its folders")]
    return await case.blocking(_check_blocking, case, binds)


def _binds(case: Case, container: Container) -> Iterator[Bind]:
    for volume in container.volumes:
        source, _, *rest = volume.split(":")
        if is_named_volume(source):
            continue  # Podman makes it
        writable = not rest or "ro" not in rest[0].split(",")
        yield Bind(container.id, _absolute(case, source), writable)


def _absolute(case: Case, source: str) -> Path:
    """As the node resolves it: from its working directory and the home of its user."""
    if not case.is_service or case.user is None:
        return Path(source).expanduser().absolute()
    if source == "~" or source.startswith("~/"):
        return case.user.home / source[2:]
    return Path("/") / source  # in which services start, systemd.exec(5)


def _check_blocking(case: Case, binds: list[Bind]) -> list[Finding]:
    user = _user_of_containers(case)
    if user is None:
        return [not_checked("the user of Podman is not known, see the check podman")]
    return [_judge(case, user, bind) for bind in binds]


def _user_of_containers(case: Case) -> User | None:
    """The user of Podman, which is root in the containers."""
    if case.is_service:
        return case.user if case.is_rootless else user_of(0)
    url = case.config.podman.url
    if url:
        return owner_of(Path(urlsplit(url).path))
    return user_of(os.geteuid()) if case.connection.is_own else user_of(0)


def _judge(case: Case, user: User, bind: Bind) -> Finding:
    path = bind.path
    name = f"{path}, a volume of {bind.container}"
    try:
        there = os.path.lexists(path)
        if there and path.is_symlink() and not path.exists():
            return problem(
                f"{name}, is a link to a path that does not exist", f"correct the link {path}"
            )
        if not there:
            return _about_missing(user, bind, name)
        mount = mount_of(path, case.root)
        if bind.writable and mount is not None and mount.read_only:
            return problem(
                f"{name}, is on {mount.mount_point}, which is mounted read-only",
                "add :ro to the volume, if the container does not write it",
                command=as_root("mount", "-o", "remount,rw", mount.mount_point),
            )
        closed = next((each for each in reversed(path.parents) if not user.may(each, "x")), None)
        if closed is not None:
            return problem(
                f"{name}: {user.name}, the user of the containers, may not enter {closed}",
                "move it to a folder elsewhere, and correct the volume",
            )
        how = ("rw" if bind.writable else "r") + ("x" if path.is_dir() else "")
        if user.may(path, how):
            return ok(f"{name}: {user.name} may use it")
    except CannotCheck as error:
        return not_checked(f"{name}: {error}", "run the doctor with sudo")
    letters = f"u+{how}"
    owner = owner_of(path)
    what = "read and write" if bind.writable else "read"
    text = f"{name}: {user.name}, the user of the containers, may not {what} it"
    if owner is not None and owner.uid == user.uid:
        return problem(text, command=as_owner(owner, "chmod", letters, path))
    text = f"{text}: it belongs to {owner.name if owner is not None else 'another user'}"
    if path.is_dir() and not any(path.iterdir()):
        return problem(text, command=as_root("chown", f"{user.name}:", path))
    give = as_root("setfacl", "-m", f"u:{user.name}:{how}", path)
    if shutil.which("setfacl") is not None:
        return problem(text, "the command gives that user access too", command=give)
    return problem(text, f"permit {user.name} to {what} it, or name another folder in the volume")


def _about_missing(user: User, bind: Bind, name: str) -> Finding:
    above = nearest(bind.path)
    text = f"{name}, does not exist, and the container cannot start without it"
    remedy = "the command makes an empty folder; if a file is needed, put it there instead"
    if user.uid == os.geteuid() and user.may(above, "wx"):
        return problem(text, remedy, command=as_owner(user, "mkdir", "-p", bind.path))
    make = as_root("install", "-d", "-o", user.name, "-g", str(user.gid), bind.path)
    return problem(text, remedy, command=make)
