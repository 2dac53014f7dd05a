"""A container as operators see it: its state, load, use and image."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from msgspec import structs

from infernet_edge.config.rules import size_in_bytes
from infernet_edge.containers.operating.forms import (
    ContainerHour,
    ContainerItem,
    ContainerSlots,
    ContainerState,
    PullState,
)
from infernet_edge.containers.operating.sampling import Use
from infernet_edge.containers.podman import LocalImage
from infernet_edge.containers.service import Service
from infernet_edge.events.public_text import public

_UNKNOWN = Use(None, None)


class Load(NamedTuple):
    """The slots of a container that are used, all its slots, and how many jobs wait for one."""

    used: int
    slots: int
    waiting: int


class Management(NamedTuple):
    """What the manager knows of a container that it runs."""

    restarts: int = 0
    next_start: int | None = None
    image: LocalImage = LocalImage("")
    newer: LocalImage | None = None
    pull: PullState | None = None
    pull_error: str = ""
    use: Use = _UNKNOWN


def shown_state(service: Service) -> ContainerState:
    """The state as operators see it. A suspect container counts as ready: it runs."""
    if service.state in ("starting", "failed", "asleep"):
        return service.state
    return "ready" if service.managed else "elsewhere"


def item_of(service: Service, load: Load, management: Management) -> ContainerItem:
    """The item of GET /api/containers. It has no secret: no environment, no credentials of URLs."""
    container = service.container
    managed, memory = service.managed, service.container.memory
    url, hour = without_credentials(service.base_url), service.hour.summary()
    return ContainerItem(
        id=service.id,
        state=shown_state(service),
        reason=service.reason.replace(service.base_url, url),
        since=service.since,
        next_start_at=management.next_start,
        managed=managed,
        restarts=management.restarts if managed else None,
        slots=ContainerSlots(load.used, load.slots),
        waiting=load.waiting,
        hour=ContainerHour(hour.done, hour.failed, hour.p50_ms),
        cpu_percent=management.use.cpu_percent,
        memory=management.use.memory,
        memory_limit=size_in_bytes(memory) if managed and memory else None,
        image=None if container.url else container.image or None,
        digest=management.image.digest or None,
        new_digest=None if management.newer is None else management.newer.digest or None,
        pull=management.pull,
        pull_error=management.pull_error or None,
        url=None if managed else url,
        input_schema=container.input_schema,
    )


def for_others(item: ContainerItem) -> ContainerItem:
    """The same as callers see it who are no operators: its reasons are public texts."""
    error = item.pull_error
    return structs.replace(
        item, reason=public(item.reason), pull_error=None if error is None else public(error)
    )


def without_credentials(url: str) -> str:
    """A URL without user name, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
