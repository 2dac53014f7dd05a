"""The answer of GET /api/nodes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Health = Literal["healthy", "unhealthy", "unreachable", "unknown"]


class OtherNode(Struct, frozen=True):
    """Another node: what it announces, and what it answered; times in milliseconds since 1970.

    `health` is "unreachable" when it did not answer, "unknown" when it was not asked;
    `reason` says why. `seen_at` is when it answered last, or null. `containers` are those
    that are ready, or, while it says nothing, those that it announces; `pending` are its unfinished
    jobs, or null. `listed`: it is in `discovery.nodes`.
    """

    name: str
    url: str
    version: str
    health: Health
    containers: list[str]
    pending: int | None
    seen_at: int | None
    id: str = ""
    reason: str = ""
    protected: bool = False
    listed: bool = False


class NodeList(Struct, frozen=True):
    """The other nodes by name; `problem` is why some may be missing, or ""."""

    items: list[OtherNode]
    problem: str = ""
