"""Check whether service containers answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from infernet_edge.backoff import Backoff
from infernet_edge.containers.answers.failures import cause_of
from infernet_edge.containers.answers.refusals import UNAVAILABLE
from infernet_edge.containers.protocols.model_list import read_models
from infernet_edge.containers.protocols.sending import headers_of
from infernet_edge.containers.service import Service
from infernet_edge.containers.timing import Timing
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.http_client.response import HttpResponse
from infernet_edge.http_client.urls import parse_url
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_TIMEOUT = 5.0  # seconds for an answer
_PAGE_TIMEOUT = 0.5  # seconds of that for its page, after the head
_MAX_PAGE = 64 * 2**10  # bytes of a page that are read
_CONNECT_TIMEOUT = 0.5  # seconds; the kernel of this machine accepts connections immediately
_CLOSE_TIMEOUT = 0.2  # seconds in which a forwarder closes a connection without a service


async def probe(http: HttpClient, service: Service) -> str:
    """Request the health path of a service; returns "" when it is ready, else the reason.

    Without a health path any HTTP answer is sufficient: services need not have a page at "/". But
    servers of models answer 503 while they load one. An accepted connection is not sufficient: port
    forwarders accept it before the service listens.
    """
    container, protocol = service.container, service.protocol
    path = container.health_path or protocol.HEALTH_PATH
    headers, url = headers_of(container), service.base_url + path
    try:
        async with asyncio.timeout(_TIMEOUT):
            async with await http.request("GET", parse_url(url), headers) as response:
                status = response.status
                await _read_page(response)
        if container.health_path and status >= 400:
            return f"{path} answers with status {status}"
        if protocol.LOADS_MODELS and status == UNAVAILABLE:
            return f"{path} answers with status {status}, as servers do that load a model"
    except TimeoutError:
        return f"no answer from {url} within {_TIMEOUT:g} seconds"
    except HttpError as error:
        return f"no answer from {url} ({cause_of(error)})"
    if protocol.NAMES_MODELS and (service.state != "ready" or not service.model_ids):
        await read_models(http, service)
    return ""


async def _read_page(response: HttpResponse) -> None:
    """Read a page that is short: a server that cannot send all of it may log that as an error."""
    with contextlib.suppress(TimeoutError, HttpError):
        async with asyncio.timeout(_PAGE_TIMEOUT):
            await response.whole(_MAX_PAGE)


async def port_seems_closed(port: int) -> bool:
    """Whether the container on this port of 127.0.0.1 seems to have stopped.

    True when its port refuses connections, or closes them immediately, as port forwarders do
    without a service. Nothing is sent. A busy container is not reported: the kernel accepts
    connections for it.
    """
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return True
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            return not await reader.read(1)
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        writer.transport.abort()


async def watch_unmanaged(http: HttpClient, services: Sequence[Service], timing: Timing) -> None:
    """Probe the services that the node does not manage and update their state; never returns.

    All are probed at the same time, so that the machine wakes up only once.
    """
    pauses = Backoff(timing.unmanaged_down, timing.unmanaged)
    while True:
        before = [service.state for service in services]
        await asyncio.gather(*(_update(http, service) for service in services))
        after = [service.state for service in services]
        if before != after:
            pauses.reset()
        all_ready = all(state == "ready" for state in after)
        await asyncio.sleep(timing.unmanaged if all_ready else pauses.next())


async def _update(http: HttpClient, service: Service) -> None:
    problem = await probe(http, service)
    if problem and service.in_call:
        return  # a single worker does not answer while it computes
    if not problem and service.state != "ready":
        service.set_ready()
        log_event(logger, "container.became_ready", container=service.id, url=service.base_url)
    elif problem and service.state != "failed":
        log_event(
            logger,
            "container.probe_failed",
            logging.WARNING,
            container=service.id,
            reason=problem,
        )
    if problem:
        service.set_failed(problem)
