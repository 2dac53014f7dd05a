"""The state of the installed service, for `service status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from infernet_edge.cli.links import link_to
from infernet_edge.config import load
from infernet_edge.config.paths import NODE_UNIT
from infernet_edge.control.client import NotRunning, fetch
from infernet_edge.installer import drop_in
from infernet_edge.installer.paths import Paths
from infernet_edge.installer.trial import last_result, read_state

Described = dict[str, Any]


def describe(paths: Paths, state: Mapping[str, str]) -> Described:
    """The service, as --json prints it. `state` has the properties of its unit, systemctl(1).

    `node` is the report of the node, null when it does not answer; `reason` says why then. Raises
    ConfigurationError.
    """
    is_active = state["ActiveState"] == "active"
    found: Described = {
        "unit": NODE_UNIT,
        "state": state["ActiveState"],
        "substate": state["SubState"],
        "enabled": state["UnitFileState"],
        "since": state["ActiveEnterTimestamp"] or None,
        "restarts": state["NRestarts"],
        "last_result": state["Result"],
        "version": paths.current.readlink().name if paths.current.is_symlink() else None,
        "rootless": paths.rootless.exists(),
        "upgrade": _upgrade(paths),
        "node": None,
        "reason": None if is_active else "infernet-edge service logs",
    }
    if is_active:
        try:
            config = load(paths.configuration(), drop_in.environment(paths)).config
            found["node"] = fetch(config, "status")
        except NotRunning as error:
            found["reason"] = str(error)
    return found


def is_healthy(found: Described) -> bool:
    """Whether the node runs and is healthy."""
    return bool(found["node"] and found["node"]["healthy"])


def lines(found: Described) -> Iterator[str]:
    """What `describe` has found, as text."""
    yield f"{found['unit']}: {found['state']} ({found['substate']}), {found['enabled']}"
    yield f"  since      {found['since'] or 'never'}"
    yield f"  restarts   {found['restarts']}, last result: {found['last_result']}"
    podman = "without root" if found["rootless"] else "as root"
    yield f"  version    {found['version'] or 'none'}, Podman runs {podman}"
    if found["upgrade"] is not None:
        yield f"  {found['upgrade']['state']:<9}  {found['upgrade']['text']}"
    node = found["node"]
    if node is None:
        known = "health     unknown:" if found["state"] == "active" else "reason    "
        yield f"  {known} {found['reason']}"
        return
    yield f"  health     {'healthy' if node['healthy'] else 'unhealthy'}, {node['url']}"
    yield f"  dashboard  {link_to(node.get('network', []), node['url'])}"
    for problem in node["problems"]:
        yield f"  problem    {problem}"


def _upgrade(paths: Paths) -> dict[str, str] | None:
    """The upgrade that is on trial, or the last one when it failed."""
    if (state := read_state(paths)) is not None:
        text = f"of {state.new}; if it fails, it is rolled back to {state.old}"
        return {"state": "trial", "text": text}
    result = last_result(paths)
    if result is None or (result.is_kept and not result.reason):
        return None
    moment = datetime.fromtimestamp(result.ended_at / 1000, UTC)
    verb = "could not be rolled back" if result.is_kept else "was rolled back"
    first = result.reason.partition("\n")[0]
    return {
        "state": "upgrade",
        "text": f"{result.new} {verb} on {moment:%Y-%m-%d %H:%M} UTC: {first}",
    }
