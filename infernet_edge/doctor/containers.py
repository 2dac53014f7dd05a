"""Are the containers ready for jobs?"""

from __future__ import annotations

from typing import Any

from infernet_edge.config.model import Container
from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.containers.service import LAST_FAILED
from infernet_edge.control.client import NotRunning
from infernet_edge.doctor.commands import as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, warning

NAME = "containers"
NEEDS = ("containers",)


async def check(case: Case) -> list[Finding]:
    """Read the state of each from the running node."""
    if not case.config.containers:
        return [ok("none are configured")]
    try:
        states = {each["id"]: each for each in (await case.status())["containers"]}
    except NotRunning:
        return [not_checked(f"{_name(each)}: no node answers") for each in case.config.containers]
    return [_judge(case, each, states.get(each.id)) for each in case.config.containers]


def _judge(case: Case, container: Container, state: dict[str, Any] | None) -> Finding:
    name = _name(container)
    if state is None:
        command = as_root("systemctl", "restart", NODE_UNIT) if case.is_service else ""
        return warning(
            f"{name}: the running node does not have it, so it started before the configuration"
            " was changed",
            "" if command else "stop the node and start it again",
            command=command,
        )
    if state["state"] == "ready":
        return ok(f"{name}: ready")
    if state["state"] == "asleep" and LAST_FAILED not in state["reason"]:
        return ok(f"{name}: asleep: {state['reason']}")
    finding = problem if state["state"] == "failed" else warning
    what = f"the service at {container.url}" if container.url else "what the reason names"
    return finding(
        f"{name}: {state['state']}: {state['reason']}",
        f"correct {what}; the node retries automatically",
    )


def _name(container: Container) -> str:
    return container.id or "one without an id"
