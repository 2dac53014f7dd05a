"""Does Podman answer, where the node would look for it?"""

from __future__ import annotations

import shutil

from infernet_edge.containers.connection import OLDEST
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.errors import EngineError

NAME = "podman"


async def check(case: Case) -> Finding:
    """Find Podman as the node does, and look at its version and what it can limit."""
    if not case.wants_podman:
        return ok("not needed: the node manages no containers")
    try:
        engine = await case.engine()
    except EngineError as error:
        finding = problem if case.managed else warning
        installed = shutil.which("podman") is not None
        return finding(str(error), "podman info" if installed else "sudo apt-get install podman")
    version, limits = case.connection.info
    if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < OLDEST:
        return warning(f"Podman {version} is older than {OLDEST}.0", "upgrade Podman")
    missing = sorted({"memory", "cpu", "pids"} - limits)
    if missing:
        return warning(
            f"Podman {version} at {engine.url} cannot limit {', '.join(missing)}",
            "run Podman with cgroups of version 2; on a Raspberry Pi add cgroup_enable=memory to"
            " /boot/firmware/cmdline.txt",
        )
    return ok(f"Podman {version} answers at {engine.url}")
