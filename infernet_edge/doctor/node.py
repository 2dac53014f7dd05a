"""Does the node run?"""

from __future__ import annotations

from infernet_edge.control import NotRunning
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning

NAME = "node"


async def check(case: Case) -> Finding:
    """Ask the running node, if there is one."""
    try:
        status = await case.status()
    except NotRunning as error:
        return warning(str(error))
    told = "; ".join(status["problems"])
    if not status["healthy"]:
        reason = told or "no container is ready"
        return problem(
            f"it runs at {status['url']}, but is unhealthy: {reason}", "infernet-edge status"
        )
    if told:
        return warning(f"it runs at {status['url']}: {told}", "infernet-edge status")
    return ok(f"it runs at {status['url']}")
