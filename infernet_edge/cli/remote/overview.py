"""What GET /api/overview says, as far as `status` shows it; older nodes may leave parts out."""

from __future__ import annotations

import http.client
from typing import Any

from msgspec import Struct

from infernet_edge.cli.remote.client import NodeClient, decode
from infernet_edge.cli.remote.failures import NodeRefused


class AttentionItem(Struct, frozen=True):
    """Something that a person must do."""

    level: str = "problem"
    text: str = ""
    fix: str = ""
    command: str = ""
    container: str | None = None


class NodeFacts(Struct, frozen=True):
    """The node itself."""

    name: str = ""
    version: str = ""
    urls: list[str] = []


class Taking(Struct, frozen=True):
    """Whether new jobs are accepted, and why not."""

    open: bool = True
    reason: str = ""


class Ended(Struct, frozen=True):
    """Jobs that ended in the last hour, and percentiles of their times in milliseconds."""

    done: int = 0
    failed: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


class JobFigures(Struct, frozen=True):
    """The jobs of now, and of the last hour."""

    running: int = 0
    waiting: int = 0
    hour: Ended = Ended()


class MachineFigures(Struct, frozen=True):
    """What is used of the machine; sizes in bytes, null for what is not known."""

    disk_free: int | None = None
    disk_size: int | None = None
    disk_days_left: float | None = None
    memory_used: int | None = None
    memory_size: int | None = None
    temperature_c: float | None = None
    throttled: bool | None = None


class RemoteContainer(Struct, frozen=True):
    """A container, as far as clients may see it."""

    id: str
    state: str = "unknown"
    reason: str = ""


class NotShown(Struct, frozen=True):
    """How many items are not in the answer."""

    attention: int = 0


class NodeOverview(Struct, frozen=True):
    """The state of a node; times in milliseconds since 1970."""

    now: int = 0
    started_at: int = 0
    node: NodeFacts = NodeFacts()
    intake: Taking = Taking()
    attention: list[AttentionItem] = []
    jobs: JobFigures = JobFigures()
    machine: MachineFigures = MachineFigures()
    containers: list[RemoteContainer] = []
    chain: dict[str, Any] | None = None
    left_out: NotShown = NotShown()


def fetch_overview(node: NodeClient) -> tuple[NodeOverview | None, Any]:
    """The overview, and its JSON as it is; None for a node without one. Raises NodeError."""
    try:
        body = node.fetch("GET", "/api/overview")
    except NodeRefused as error:
        if error.status != http.client.NOT_FOUND:
            raise
        return None, None
    overview: NodeOverview = decode(node.address, body, NodeOverview)
    return overview, decode(node.address, body)
