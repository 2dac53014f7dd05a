"""Are the containers' images here, or can they be pulled?"""

from __future__ import annotations

import asyncio
import contextlib

from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.errors import EngineError

NAME = "images"
_TIMEOUT = 5.0  # seconds
_HTTPS = 443


async def check(case: Case) -> Finding:
    """Ask Podman for each; where one is missing, see whether its registry takes connections."""
    if not case.managed:
        return ok("not needed: the node manages no containers")
    names = sorted({container.image for container in case.managed})
    try:
        engine = await case.engine()
        missing = [name for name in names if await case.blocking(engine.find_image, name) is None]
    except EngineError:
        return ok("unknown, since Podman does not answer")
    if not missing:
        return ok(f"{', '.join(names)}: here")
    made_here = [name for name in missing if registry_of(name) == "localhost"]
    if made_here:
        return problem(
            f"{', '.join(made_here)}: not here, and no registry has what is made on this machine",
            f"podman build --tag {made_here[0]} FOLDER",
        )
    registries = sorted({registry_of(name) for name in missing})
    reached = await asyncio.gather(*map(_takes_connections, registries))
    away = [name for name, there in zip(registries, reached, strict=True) if not there]
    # Not a problem: there may be a proxy or a mirror, of which only Podman knows.
    unreachable = f"; {', '.join(away)} cannot be reached from here" if away else ""
    return warning(
        f"{', '.join(missing)}: not here yet, the node has to pull it first{unreachable}",
        "; ".join(f"podman pull {name}" for name in missing),
    )


def registry_of(image: str) -> str:
    """Where an image is pulled from, by Docker's rule: a first part with a dot or a port."""
    first, separator, _ = image.partition("/")
    named = separator and ("." in first or ":" in first or first == "localhost")
    return first if named else "docker.io"


async def _takes_connections(registry: str) -> bool:
    host, _, port = registry.partition(":")
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, int(port or _HTTPS))
    except (OSError, TimeoutError, ValueError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
