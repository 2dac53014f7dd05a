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
    """Read the status of the running node, if there is one."""
    try:
        status = await case.status()
    except NotAllowed:
        return not_checked(
            "only the node's user and root may read its status", "run the doctor with sudo"
        )
    except NotRunning:
        return _not_running(case)
    problems = "; ".join(status["problems"])
    if not status["healthy"]:
        reason = problems or "no container is ready"
        return problem(
            f"it runs at {status['url']}, but is unhealthy: {reason}",
            "correct that; see what is found about the containers and the disk",
        )
    if problems:
        return warning(f"it runs at {status['url']}: {problems}", "correct the named problems")
    return ok(f"it runs at {status['url']}")


def _not_running(case: Case) -> Finding:
    text = f"no running node has its data in {case.config.storage_path}"
    if case.is_service:
        return warning(text, command=as_root("systemctl", "restart", NODE_UNIT))
    start = case.command("run")
    return warning(text, f"start it in a terminal, where it runs until Ctrl+C: {start}")
