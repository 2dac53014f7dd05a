"""Does the node run?"""

from __future__ import annotations

from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.control.client import NotAllowed, NotRunning
from infernet_edge.doctor.commands import as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, warning

NAME = "node"
NEEDS = ("storage.path",)


async def check(case: Case) -> Finding:
    """Ask the running node, if there is one."""
    try:
        status = await case.status()
    except NotAllowed:
        return not_checked("only the node's user and root may ask it", "run the doctor with sudo")
    except NotRunning:
        return _about_none(case)
    told = "; ".join(status["problems"])
    if not status["healthy"]:
        reason = told or "no container is ready"
        return problem(
            f"it runs at {status['url']}, but is unhealthy: {reason}",
            "correct that; what is said of the containers and the disk may be the cause",
        )
    if told:
        return warning(f"it runs at {status['url']}: {told}", "correct what it names")
    return ok(f"it runs at {status['url']}")


def _about_none(case: Case) -> Finding:
    text = f"no node answers that has its data in {case.config.storage_path}"
    if case.is_service:
        return warning(text, command=as_root("systemctl", "restart", NODE_UNIT))
    start = case.command("run")
    return warning(text, f"start it in a terminal, where it stays until Ctrl+C: {start}")
