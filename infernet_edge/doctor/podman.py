"""Does Podman answer, where the node would look for it, and can it do what is asked of it?"""

from __future__ import annotations

import os
import shutil

from infernet_edge.containers.connection import OLDEST
from infernet_edge.containers.specification import missing_limits
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.sockets import OWN_SOCKET
from infernet_edge.errors import EngineError

NAME = "podman"

# https://rootlesscontaine.rs/getting-started/common/cgroup2
_DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset"
    " io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo"
    " systemctl daemon-reload; then log in anew"
)
_SWITCH_ON = "add cgroup_enable=memory to /boot/firmware/cmdline.txt (Raspberry Pi) and restart"
_VERSION_2 = "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line and restart"


async def check(case: Case) -> Finding:
    """Find Podman as the node does, and look at its version and what it can limit."""
    if not case.wants_podman:
        return ok("not needed: the node manages no containers")
    try:
        engine = await case.engine()
    except EngineError as error:
        finding = problem if case.managed else warning
        return finding(str(error), _how_to_reach(case))
    version, limits, *_ = case.connection.info
    if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < OLDEST:
        return warning(f"Podman {version} is older than {OLDEST}.0", "upgrade Podman")
    missing = {name for each in case.managed for name in missing_limits(each, limits)}
    if missing:
        return warning(
            f"Podman {version} at {engine.url} cannot limit {', '.join(sorted(missing))}:"
            " containers run without that limit",
            await case.blocking(_how_to_limit, case),
        )
    return ok(f"Podman {version} answers at {engine.url}")


def _how_to_reach(case: Case) -> str:
    if shutil.which("podman") is None:
        return "sudo apt-get install podman"
    if case.config.podman.url:
        return f"{OWN_SOCKET}; for that of root: sudo systemctl enable --now podman.socket"
    return "podman info"


def _how_to_limit(case: Case) -> str:
    if not (case.root / "sys/fs/cgroup/cgroup.controllers").exists():
        return _VERSION_2
    return _DELEGATE if os.getuid() and case.connection.is_own else _SWITCH_ON
