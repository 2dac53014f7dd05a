"""Podman's event stream: which of the node's containers stopped.

By aiohttp, not by podman-py: its generator blocks a thread for as long as nothing happens and
cannot be interrupted, while this read is cancelled at once and costs nothing while it waits.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from infernet_edge.containers.specification import NODE_LABEL
from infernet_edge.containers.threads import EngineUnreachable
from infernet_edge.errors import EngineError


class Death(NamedTuple):
    """A container stopped or was removed; the exit code when Podman says it."""

    container_id: str
    exit_code: int | None


class EventsRefused(EngineError):
    """This Podman answers, but has no events to give (events_logger = "none")."""


class _Actor(msgspec.Struct):
    id: str = msgspec.field(name="ID", default="")
    attributes: dict[str, str] = msgspec.field(name="Attributes", default_factory=dict)


class _Event(msgspec.Struct):
    action: str = msgspec.field(name="Action", default="")
    actor: _Actor = msgspec.field(name="Actor", default_factory=_Actor)
    cause: str = ""  # in place of an event: why there are none, although the status was 200


_decoder = msgspec.json.Decoder(_Event)


async def deaths(url: str, node: str, since: int) -> AsyncIterator[Death]:
    """All deaths of containers of `node` from `since` (seconds of Unix time) on.

    Ends, or raises EngineUnreachable, when the connection ends; raises EventsRefused when there
    are no events to be had. There is no time-out, for nothing may happen for years: that Podman
    hangs is found by the manager's slow look at what runs.
    """
    filters = {
        "type": ["container"],
        "event": ["died", "remove"],
        "label": [f"{NODE_LABEL}={node}"],
    }
    query = {"stream": "true", "since": str(since), "filters": json.dumps(filters)}
    parts = urlsplit(url)
    connector: aiohttp.BaseConnector | None = None
    base = f"http://{parts.netloc}"
    if parts.scheme == "unix":
        connector, base = aiohttp.UnixConnector(parts.path), "http://podman"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, read_bufsize=2**18) as session,
            session.get(f"{base}/v4.0.0/libpod/events", params=query, timeout=timeout) as response,
        ):
            if response.status >= 400:
                words = await response.content.read(500)
                raise EventsRefused(words.decode("utf-8", "replace"))
            async for line in response.content:
                event = _decoder.decode(line)
                if event.cause:
                    raise EventsRefused(event.cause)
                code = event.actor.attributes.get("containerExitCode", "")
                died = event.action == "died" and code.lstrip("-").isdigit()
                yield Death(event.actor.id, int(code) if died else None)
    except (aiohttp.ClientError, OSError, ValueError, msgspec.MsgspecError) as error:
        raise EngineUnreachable(f"Podman's event stream ended: {error}") from error
