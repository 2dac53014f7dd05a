"""The data types of the overview: times in milliseconds since 1970, sizes in bytes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from infernet_edge.containers.operating.forms import ContainerItem
from infernet_edge.schema import ChainSummary, HistoryItem
from infernet_edge.statistics.last_hour import Minutes, Summary

Level = Literal["problem", "warning"]


class Attention(Struct, frozen=True, kw_only=True):
    """Something that a person must do. `fix` says what, `command` does it or shows more.

    `actions` are those of the dashboard that help. `since` is when the node first saw it.
    """

    id: str
    level: Level
    title: str
    text: str
    fix: str
    command: str = ""
    actions: list[str] = []
    container: str | None = None
    since: int = 0


class NodeIdentity(Struct, frozen=True):
    """The node: its name, its addresses, and a QR code of the first of them, by lines."""

    name: str
    version: str
    urls: list[str]
    qr: list[str] | None = None


class CallerIdentity(Struct, frozen=True):
    """Who asks. `open`: the node has no tokens, so that everybody in its network may use it."""

    name: str
    scope: str
    expires_at: int | None
    open: bool


class Intake(Struct, frozen=True):
    """Whether new jobs are accepted, and why not."""

    open: bool
    reason: str


class JobCounts(Struct, frozen=True):
    """The jobs of now, and of the last hour."""

    running: int
    waiting: int
    hour: Summary


class MachineUsage(Struct, frozen=True, kw_only=True):
    """What is used of the machine; null for what is not known.

    `disk_days_left` is the time until the disk is full, by the pace of the last day.
    """

    disk_free: int | None
    disk_size: int | None
    disk_days_left: float | None
    memory_used: int | None
    memory_size: int | None
    temperature_c: float | None
    throttled: bool | None


class LeftOut(Struct, frozen=True):
    """How many items are not in the answer, because it would be too long."""

    attention: int = 0
    containers: int = 0
    failures: int = 0


class Overview(Struct, frozen=True, kw_only=True):
    """Everything that the first page shows."""

    now: int
    boot: str
    started_at: int
    node: NodeIdentity
    me: CallerIdentity
    intake: Intake
    attention: list[Attention]
    jobs: JobCounts
    history: Minutes
    machine: MachineUsage
    containers: list[ContainerItem]
    failures: list[HistoryItem]
    chain: ChainSummary | None
    left_out: LeftOut
