"""Do the containers of an ordinary user keep running after the end of the user's session?"""

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
    """Check for the file of `loginctl enable-linger`, when Podman belongs to the node's user."""
    if not case.needs_podman:
        return ok("not needed: the node manages no containers")
    if case.is_service:
        return ok("not needed: the service has a Podman service of the system")
    if os.getuid() == 0:
        return ok("not needed: Podman is root's")
    if not case.has_systemd:
        return ok("not needed: this machine does not run systemd")
    if case.user is None:
        return not_checked("the service's account does not exist")
    url = case.config.podman.url
    with contextlib.suppress(EngineError):  # perhaps because the session is missing
        url = (await case.engine()).url
    if not case.connection.is_own or (url and not _is_of_a_session(url)):
        return ok("not needed: Podman is not part of this user's session")
    name = case.user.name
    if await case.blocking((case.root / "var/lib/systemd/linger" / name).exists):
        return ok(f"containers keep running when {name} logs out")
    return warning(
        f"systemd stops {name}'s Podman and containers when {name} logs out",
        command=as_root("loginctl", "enable-linger", name),
    )


def _is_of_a_session(url: str) -> bool:
    """Whether it is a socket of the user's systemd, or of a service that the node starts itself."""
    address = urlsplit(url)
    path = Path(address.path)
    of_the_system = path.is_relative_to("/run") and not path.is_relative_to("/run/user")
    return address.scheme == "unix" and not of_the_system
