"""What GET /api/containers says, as far as it is shown; older nodes may leave parts out."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from infernet_edge.cli.remote.client import NodeClient, decode
from infernet_edge.cli.remote.failures import NodeError


class SlotUse(Struct, frozen=True):
    """Slots that are used, of how many."""

    used: int = 0
    of: int = 0


class ListedPull(Struct, frozen=True):
    """Bytes of a pull, as far as they are known."""

    bytes: int | None = None
    of: int | None = None


class ListedContainer(Struct, frozen=True):
    """A container; sizes in bytes, null for what is not known or does not apply."""

    id: str
    state: str = "unknown"
    reason: str = ""
    managed: bool = True
    restarts: int | None = None
    slots: SlotUse = SlotUse()
    waiting: int = 0
    cpu_percent: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    image: str | None = None
    digest: str | None = None
    new_digest: str | None = None
    pull: ListedPull | None = None
    pull_error: str | None = None
    url: str | None = None


class _Listed(Struct, frozen=True):
    items: list[ListedContainer]


class _Raw(Struct, frozen=True):
    items: list[dict[str, Any]]


def list_containers(node: NodeClient) -> tuple[list[ListedContainer], list[dict[str, Any]]]:
    """All containers of a node, and the same as the node describes them. Raises NodeError."""
    body = node.fetch("GET", "/api/containers")
    listed: _Listed = decode(node.address, body, _Listed)
    raw: _Raw = decode(node.address, body, _Raw)
    return listed.items, raw.items


def find_container(node: NodeClient, identifier: str) -> tuple[ListedContainer, dict[str, Any]]:
    """One container. Raises NodeError."""
    for item, raw in zip(*list_containers(node), strict=True):
        if item.id == identifier:
            return item, raw
    raise NodeError(f"The node has no container {identifier}: infernet-edge containers lists them")
