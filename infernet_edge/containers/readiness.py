"""Whether a service answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import aiohttp

from infernet_edge.backoff import Backoff
from infernet_edge.containers.service import Service
from infernet_edge.containers.timing import Timing
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
_CONNECT_TIME = 0.5  # seconds; the kernel of this machine takes connections at once
_CLOSE_TIME = 0.2  # seconds in which a forwarder closes a connection that leads nowhere


async def probe(session: aiohttp.ClientSession, service: Service) -> str:
    """Ask a service for its health path; "" when it is ready, else what is wrong.

    Without a health path any HTTP answer will do: services need not have a page at "/". That a
    connection is accepted says nothing, since port forwarders do that for a service that is not
    there yet.
    """
    container = service.container
    headers = {}
    if container.bearer:
        headers["Authorization"] = f"Bearer {container.bearer.reveal()}"
    url = service.base_url + (container.health_path or "/")
    try:
        async with session.get(
            url, headers=headers, timeout=_TIMEOUT, allow_redirects=False
        ) as response:
            if container.health_path and response.status >= 400:
                return f"{container.health_path} answers with status {response.status}"
    except TimeoutError:
        return f"no answer from {url} within {_TIMEOUT.total:g} seconds"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"no answer from {url} ({error or type(error).__name__})"
    return ""


async def seems_gone(port: int) -> bool:
    """Whether a container on this port of 127.0.0.1 seems to have ended.

    True when its port refuses connections, or closes them at once, as port forwarders do for a
    service that is not there. Nothing is sent, and one that is busy is no suspect: the kernel takes
    connections for it.
    """
    try:
        async with asyncio.timeout(_CONNECT_TIME):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return True
    try:
        async with asyncio.timeout(_CLOSE_TIME):
            return not await reader.read(1)
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        writer.transport.abort()


async def watch_unmanaged(
    session: aiohttp.ClientSession, services: Sequence[Service], pace: Timing
) -> None:
    """Keep saying which of the services that somebody else runs answer; never returns.

    All are asked at the same time, so that the machine wakes up once for them all.
    """
    pauses = Backoff(pace.unmanaged_down, pace.unmanaged)
    while True:
        before = [service.state for service in services]
        await asyncio.gather(*(_judge(session, service) for service in services))
        after = [service.state for service in services]
        if before != after:
            pauses.reset()
        all_ready = all(state == "ready" for state in after)
        await asyncio.sleep(pace.unmanaged if all_ready else pauses.next())


async def _judge(session: aiohttp.ClientSession, service: Service) -> None:
    problem = await probe(session, service)
    if not problem and service.state != "ready":
        service.set_ready()
        log_event(logger, "container.ready", container=service.id, url=service.base_url)
    elif problem and service.state != "failed":
        log_event(
            logger,
            "container.unreachable",
            logging.WARNING,
            container=service.id,
            reason=problem,
        )
    if problem:
        service.set_failed(problem)
