"""May the node's user use Podman's socket, and no other user?"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from infernet_edge.containers.connection import standard_sockets
from infernet_edge.doctor.commands import as_owner, as_root, line
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.user import CannotCheck, User, owner_of

NAME = "socket"
NEEDS = ("podman", "manage_containers")

SERVICE_SOCKET = "infernet-edge-podman.socket"
SERVICE_PODMAN = "infernet-edge-podman.service"
_ROOTS_SOCKET = Path("/run/podman/podman.sock")


async def check(case: Case) -> Finding:
    """Check the permissions of podman.url, or of the sockets that Podman's units make."""
    if not case.needs_podman:
        return ok("not needed: the node manages no containers")
    url = case.config.podman.url
    if url and not url.startswith("unix:"):
        return ok(f"not needed: Podman is reached at {_host(url)}")
    if case.user is None:
        return not_checked("the service's account does not exist")
    try:
        if url:
            return await case.blocking(_check_given, case, case.user, Path(urlsplit(url).path))
        return await case.blocking(_check_standard, case.user)
    except CannotCheck as error:
        return not_checked(str(error), "run the doctor with sudo")


def _check_given(case: Case, user: User, path: Path) -> Finding:
    try:
        exists = path.exists()
    except PermissionError:
        exists = True
    if not exists:
        remedy, command = how_to_start(case, user, path)
        return problem(f"{path} does not exist", remedy, command=command)
    if user.may(path, "rw"):
        return _for_this_user(path, user)
    text = f"{user.name} may not use {path}"
    if case.is_service and path == case.service_socket:
        return problem(text, command=_renew(SERVICE_SOCKET, SERVICE_PODMAN))
    return problem(text, _use_own_podman(case, user))


def _check_standard(user: User) -> Finding:
    forbidden = ""
    for path in standard_sockets(os.environ):
        try:
            if not path.exists():
                continue
        except PermissionError:
            forbidden = f" ({user.name} may not use {path})"
            continue
        if user.may(path, "rw"):
            return _for_this_user(path, user)
        forbidden = f" ({user.name} may not use {path})"
    return ok(f"not needed: the node starts a Podman service itself{forbidden}")


def _for_this_user(path: Path, user: User) -> Finding:
    if _is_open_to_all(path):
        return problem(
            f"all users of this machine may use {path}, and so have the permissions of its owner",
            command=as_owner(owner_of(path), "chmod", "o=", path),
        )
    return ok(f"{path} is only for {user.name}")


def how_to_start(case: Case, user: User, path: Path) -> tuple[str, str]:
    """How to make Podman listen at a path, as text and as a command; either may be "". Blocks."""
    if path == case.service_socket:
        return "", _renew(SERVICE_SOCKET, SERVICE_PODMAN)
    if path == _ROOTS_SOCKET and user.uid == 0:
        return "", _renew("podman.socket", "podman.service")
    runtime = Path(f"/run/user/{user.uid}")
    if path == runtime / "podman/podman.sock" and user.uid == os.geteuid():
        named = [] if os.environ.get("XDG_RUNTIME_DIR") else ["env", f"XDG_RUNTIME_DIR={runtime}"]
        start = line(*named, "systemctl", "--user", "enable", "--now", "podman.socket")
        if runtime.is_dir():
            return "", start
        linger = as_root("loginctl", "enable-linger", user.name)
        manager = as_root("systemctl", "start", f"user@{user.uid}.service")  # waits until it is up
        return "", f"{linger} && {manager} && {start}"
    return _use_own_podman(case, user), ""


def _renew(socket: str, service: str) -> str:
    """Make the socket again, also one that systemd does not miss. Containers keep running."""
    steps = (("enable", socket), ("stop", service), ("restart", socket))
    return " && ".join(as_root("systemctl", *step) for step in steps)


def _use_own_podman(case: Case, user: User) -> str:
    """Another user's Podman has other images, and must not be opened to this user."""
    return (
        f"remove podman.url from {case.source or 'the configuration'}: the node then finds"
        f" the Podman of {user.name}; or run the node as the user whose Podman listens there"
    )


def _is_open_to_all(path: Path) -> bool:
    """Connecting needs permission to write the socket and to enter all folders above it."""
    folders = (folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
    return bool(path.stat().st_mode & stat.S_IWOTH) and all(folders)


def _host(url: str) -> str:
    """The address without user name and password."""
    return url.rpartition("@")[2].rpartition("//")[2]
