"""The log of one container from Podman, as a stream of frames that can be followed.

Not by podman-py: it reads in a thread, which would wait without end for a container that logs
nothing. Closing this connection ends the call in Podman, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import urlsplit

from infernet_edge.containers.answers.failures import cause_of
from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.operating.lines import Frame, Frames
from infernet_edge.errors import EngineError
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.http_client.urls import Query, Target, parse_url, unix_target

_API: Final = "/v4.0.0/libpod"  # of the oldest supported version; newer ones serve it, too
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
    path = f"{_API}/containers/{container_id}/logs"
    timeout = None if follow else _READ_TIMEOUT
    try:
        target = _target(engine.url, path, tuple(parameters.items()))
        async with HttpClient() as http, connection.in_use():
            async with asyncio.timeout(timeout):
                response = await http.request("GET", target)
            async with response:
                if response.status != 200:
                    raise EngineError(f"Podman has no log of this container ({response.status})")
                yield []
                frames = Frames()
                while True:
                    async with asyncio.timeout(timeout):
                        chunk = await response.read()
                    if not chunk:
                        break
                    yield frames.feed(chunk)
    except (HttpError, TimeoutError, ValueError) as error:
        raise EngineUnreachable(f"Podman does not send the log: {_reason(error)}") from error


def _target(url: str, path: str, query: Query) -> Target:
    """Where Podman's API has a path; its URL is unix:///path or tcp://host:port."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return unix_target(parts.path, path, query)
    return parse_url(f"http://{parts.netloc}{path}", query)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return cause_of(error) if isinstance(error, HttpError) else str(error)
