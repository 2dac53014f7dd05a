"""Do the containers of an ordinary user outlive that user's session?"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from urllib.parse import urlsplit

from infernet_edge.doctor.commands import as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, warning
from infernet_edge.errors import EngineError

NAME = "lingering"
NEEDS = ("podman", "manage_containers")


async def check(case: Case) -> Finding:
    """Look for what `loginctl enable-linger` leaves, when Podman is the node's user's own."""
    if not case.wants_podman:
        return ok("not needed: the node manages no containers")
    if case.is_service:
        return ok("not needed: the service has a Podman of the system")
    if os.getuid() == 0:
        return ok("not needed: Podman is root's")
    if not case.has_systemd:
        return ok("not needed: this machine is not run by systemd")
    if case.user is None:
        return not_checked("the service's account does not exist")
    url = case.config.podman.url
    with contextlib.suppress(EngineError):  # perhaps since the session is missing
        url = (await case.engine()).url
    if not case.connection.is_own or (url and not _is_of_a_session(url)):
        return ok("not needed: Podman is no part of this user's session")
    name = case.user.name
    if await case.blocking((case.root / "var/lib/systemd/linger" / name).exists):
        return ok(f"containers go on when {name} logs out")
    return warning(
        f"systemd ends {name}'s Podman and containers when {name} logs out",
        command=as_root("loginctl", "enable-linger", name),
    )


def _is_of_a_session(url: str) -> bool:
    """Whether it is a socket of the user's systemd, or of a service that the node starts itself."""
    address = urlsplit(url)
    path = Path(address.path)
    of_the_system = path.is_relative_to("/run") and not path.is_relative_to("/run/user")
    return address.scheme == "unix" and not of_the_system
