"""Does Podman answer, where the node would look for it?"""

from __future__ import annotations

from infernet_edge.config.tree import Config
from infernet_edge.containers.connection import OLDEST, Connection
from infernet_edge.containers.threads import Threads
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.errors import EngineError

NAME = "podman"


async def check(config: Config) -> Finding:
    """Find Podman as the node does, and let go of it."""
    if not config.manage_containers or all(container.url for container in config.containers):
        return ok("not needed: the node manages no containers")
    connection = Connection(config, Threads())
    try:
        engine = await connection.open()
        version = connection.info.version
    except EngineError as error:
        return problem(str(error), "sudo apt-get install podman")
    finally:
        await connection.close()
    if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < OLDEST:
        return warning(f"Podman {version} is older than {OLDEST}.0", "upgrade Podman")
    missing = sorted({"memory", "cpu", "pids"} - connection.info.limits)
    if missing:
        return warning(
            f"Podman {version} at {engine.url} cannot limit {', '.join(missing)}",
            "run Podman with cgroups of version 2; on a Raspberry Pi add cgroup_enable=memory to"
            " /boot/firmware/cmdline.txt",
        )
    return ok(f"Podman {version} answers at {engine.url}")
