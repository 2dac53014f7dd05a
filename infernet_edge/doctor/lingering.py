"""Do the containers of an ordinary user outlive that user's session?"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from infernet_edge.doctor.case import Case, user_name
from infernet_edge.doctor.finding import Finding, ok, warning
from infernet_edge.errors import EngineError

NAME = "lingering"


async def check(case: Case) -> Finding:
    """Look for what `loginctl enable-linger` leaves, when Podman is this user's own."""
    if not case.wants_podman:
        return ok("not needed: the node manages no containers")
    if os.getuid() == 0:
        return ok("not needed: Podman is root's")
    if not (case.root / "run/systemd/system").is_dir():  # sd_booted(3)
        return ok("not needed: this machine is not run by systemd")
    try:
        engine = await case.engine()
    except EngineError:
        return ok("unknown, since Podman does not answer")
    if not case.connection.is_own or not _is_of_a_session(engine.url):
        return ok("not needed: Podman is no part of this user's session")
    user = user_name()
    if (case.root / "var/lib/systemd/linger" / user).exists():
        return ok(f"containers go on when {user} logs out")
    return warning(
        f"systemd ends {user}'s Podman and containers when {user} logs out",
        f"sudo loginctl enable-linger {user}",
    )


def _is_of_a_session(url: str) -> bool:
    """Whether it is a socket of the user's systemd, or of a service that the node starts itself."""
    address = urlsplit(url)
    path = Path(address.path)
    of_the_system = path.is_relative_to("/run") and not path.is_relative_to("/run/user")
    return address.scheme == "unix" and not of_the_system
