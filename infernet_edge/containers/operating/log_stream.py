"""The log of one container from Podman, as a stream of frames that can be followed.

Not by podman-py: it reads in a thread, which would wait without end for a container that logs
nothing. Closing this connection ends the call in Podman, too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.operating.lines import Frame, Frames
from infernet_edge.errors import EngineError

_API: Final = "/v4.0.0/libpod"  # of the oldest supported version; newer ones serve it, too
_CONNECT_TIMEOUT: Final = 10.0
_READ_TIMEOUT: Final = 30.0  # seconds without any byte, where the log is not followed


async def frames_of(
    connection: Connection, container_id: str, *, tail: int | None, since: str, follow: bool
) -> AsyncGenerator[list[Frame], None]:
    """The frames of a container's log, as they arrive; the first list, which may be empty, is
    yielded when Podman has answered.

    `tail`: only so many of the last lines; None for all. `since`: only those of this time and
    later, "" for all. With `follow` it ends when the container has ended. Raises EngineError when
    there is no such container, EngineUnreachable when Podman does not answer.
    """
    engine = connection.engine
    if engine is None:
        raise EngineUnreachable(connection.problem or "Podman is not connected")
    parameters = {
        "stdout": "true",
        "stderr": "true",
        "timestamps": "true",
        "follow": str(follow).lower(),
    }
    if tail is not None:
        parameters["tail"] = str(tail)
    if since:
        parameters["since"] = since
    timeout = aiohttp.ClientTimeout(
        total=None,
        sock_connect=_CONNECT_TIMEOUT,
        sock_read=None if follow else _READ_TIMEOUT,
    )
    base, connector = _address(engine.url)
    url = f"{base}{_API}/containers/{container_id}/logs"
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            connection.in_use(),
            session.get(url, params=parameters) as response,
        ):
            if response.status != 200:
                raise EngineError(f"Podman has no log of this container ({response.status})")
            yield []
            frames = Frames()
            while chunk := await response.content.readany():
                yield frames.feed(chunk)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise EngineUnreachable(f"Podman does not send the log: {error}") from error


def _address(url: str) -> tuple[str, aiohttp.BaseConnector]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return "http://podman", aiohttp.UnixConnector(parts.path)
    return f"http://{parts.netloc}", aiohttp.TCPConnector()
