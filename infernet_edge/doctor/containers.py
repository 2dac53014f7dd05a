"""Are the containers ready for jobs?"""

from __future__ import annotations

from infernet_edge.control import NotRunning
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning

NAME = "containers"


async def check(case: Case) -> Finding:
    """Ask the running node about each."""
    if not case.config.containers:
        return ok("none are configured")
    try:
        containers = (await case.status())["containers"]
    except NotRunning:
        return ok("unknown, since no node answers")
    down = [
        f"{container['id']}: {container['reason']}"
        for container in containers
        if container["state"] != "ready"
    ]
    failed = any(container["state"] == "failed" for container in containers)
    if down:
        finding = problem if failed else warning
        return finding("not ready: " + "; ".join(down), "infernet-edge status")
    return ok(f"{', '.join(container['id'] for container in containers)}: ready")
