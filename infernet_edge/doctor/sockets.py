"""May this user use Podman's socket, and nobody who should not?"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from infernet_edge.containers.connection import standard_sockets
from infernet_edge.doctor.case import Case, user_name
from infernet_edge.doctor.finding import Finding, ok, problem

NAME = "socket"
OWN_SOCKET = "systemctl --user enable --now podman.socket"


async def check(case: Case) -> Finding:
    """Look at the rights of podman.url, or of the sockets that Podman's own units make."""
    if not case.wants_podman:
        return ok("not needed: the node manages no containers")
    url = case.config.podman.url
    if url and not url.startswith("unix:"):
        return ok(f"not needed: Podman is reached at {_host(url)}")
    paths = [Path(urlsplit(url).path)] if url else standard_sockets(os.environ)
    return await case.blocking(_check_blocking, paths, bool(url))


def _check_blocking(paths: list[Path], configured: bool) -> Finding:
    forbidden = None
    for path in paths:
        try:
            mode = path.stat().st_mode
        except PermissionError:
            forbidden = path
            continue
        except OSError:
            continue
        if not os.access(path, os.R_OK | os.W_OK):
            forbidden = path
        elif _is_open_to_all(path, mode):
            return problem(
                f"everybody on this machine may use {path}, and through it do what its owner may",
                f"sudo chmod o= {path}",
            )
        else:
            return ok(f"{path} is for this user")
    if forbidden is not None and configured:
        return problem(
            f"{user_name()} may not use {forbidden}",
            f"use a Podman of this user's own instead: {OWN_SOCKET}, without podman.url in the"
            " configuration; or run the node as that socket's owner",
        )
    if configured:
        return problem(
            f"{paths[0]} is not there",
            f"sudo systemctl enable --now podman.socket, or {OWN_SOCKET}",
        )
    root = f" ({user_name()} may not use {forbidden})" if forbidden else ""
    return ok(f"none is needed: the node starts a Podman service of its own{root}")


def _is_open_to_all(path: Path, mode: int) -> bool:
    """Connecting needs the right to write the socket, and to pass all folders above."""
    folders = (folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
    return bool(mode & stat.S_IWOTH) and all(folders)


def _host(url: str) -> str:
    """The address without a user name or password that may stand in it."""
    return url.rpartition("@")[2].rpartition("//")[2]
