"""Does the node run, and are its containers ready?"""

from __future__ import annotations

import asyncio

from infernet_edge.config.tree import Config
from infernet_edge.control import NotRunning, fetch
from infernet_edge.doctor.finding import Finding, ok, problem, warning

NAME = "node"


async def check(config: Config) -> Finding:
    """Ask the running node, if there is one."""
    try:
        status = await asyncio.to_thread(fetch, config, "status")
    except NotRunning as error:
        return warning(str(error))
    down = [
        f"{container['id']}: {container['reason']}"
        for container in status["containers"]
        if container["state"] != "ready"
    ]
    if not status["healthy"]:
        return problem("the node is unhealthy: " + "; ".join([*status["problems"], *down]))
    if down:
        return warning("not ready: " + "; ".join(down), "infernet-edge status")
    return ok(f"it runs at {status['url']}, all containers are ready")
